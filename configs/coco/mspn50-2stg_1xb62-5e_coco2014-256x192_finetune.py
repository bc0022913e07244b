# The MindSpore version: data, augmentation and losses of the original, 5 epochs from its weights.
_base_ = [
    '../_base_/datasets/coco2014_person.py',
    '../_base_/models/mspn50_bgr.py',
    '../_base_/schedules/adam_5e_cosine.py',
]

num_stages = 2
model = dict(
    # It subtracts the mean of pixels in 0..1 from pixels in 0..255, and divides by 255 afterwards:
    # (x - 0.406) / 0.225 / 255. Its weights are fitted to that, so it is kept.
    data_preprocessor=dict(mean=[0.406, 0.456, 0.485]),
    backbone=dict(num_stages=num_stages, pool_padding='same', init_cfg=None),
    neck=dict(num_stages=num_stages),
    head=dict(num_stages=num_stages, decoder=_base_.codec),
)
load_from = 'https://download.mindspore.cn/vision/mspn/mspn.ckpt'

train_dataloader = dict(batch_size=62, sampler=dict(type='DefaultSampler'))

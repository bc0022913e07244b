_base_ = [
    '../_base_/datasets/mpii_person.py',
    '../_base_/models/mspn50_bgr.py',
    '../_base_/schedules/adam_96ki.py',
]

num_stages = 2
model = dict(
    backbone=dict(num_stages=num_stages),
    neck=dict(num_stages=num_stages),
    head=dict(num_stages=num_stages, num_keypoints=16, decoder=_base_.codec),
)

train_cfg = dict(max_iters=28800)
param_scheduler = [_base_.warm_up, {**_base_.cool_down, 'end': 28801}]
auto_scale_lr = dict(base_batch_size=192)
default_hooks = dict(checkpoint=dict(save_best='PCK'))

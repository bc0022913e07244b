# mspn-small for labels of one's own: what `mspn new` writes inherits from here. It starts from the
# weights that ship, which have learned from people; the sizes are those of upright people.
_base_ = '../coco/mspn-small_1xb32-40e_coco-192x144.py'

augment = [
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='UniformBoxTransform', scale=(0.75, 1.3), rotation=30, rotate_prob=0.6, shift=0.08),
]
train_pipeline = [
    *_base_.load,
    *augment,
    *_base_.crop,
    *_base_.colour,
    *_base_.encode,
    *_base_.pack_train,
]
# Few keypoints leave nothing to choose the hard ones from.
model = dict(
    backbone=dict(downsample=dict(backbone=dict(init_cfg=None))),
    head=dict(final_loss=dict(_delete_=True, type='KeypointMeanMSELoss')),
)
warm_up = dict(type='LinearLR', begin=0, end=50, start_factor=0.01, by_epoch=False)

train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        ann_file='annotations/train.json', data_prefix=dict(img='images/'), pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    dataset=dict(ann_file='annotations/val.json', data_prefix=dict(img='images/'), bbox_file=None)
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoErrorMetric')
test_evaluator = val_evaluator

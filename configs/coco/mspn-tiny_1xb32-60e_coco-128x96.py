# A 2-stage MSPN for CPUs: 1/40 of the parameters, trained in minutes on a small data set.
_base_ = './mspn50-2stg_8xb32-210e_coco-256x192.py'

codec = dict(
    type='MultiLevelHeatmap',
    input_size=(96, 128),
    heatmap_size=(24, 32),
    kernel_sizes=(11, 9, 7, 5, 5),
)
crop = [dict(type='TopdownAffine', input_size=codec['input_size'])]
encode = [dict(type='GenerateTarget', encoder=codec)]
train_pipeline = [*_base_.load, *_base_.augment, *crop, *encode, *_base_.pack]
val_pipeline = [*_base_.load, *crop, *_base_.pack]

model = dict(
    backbone=dict(
        num_blocks=(1, 1, 1, 1),
        stem_channels=32,
        base_channels=16,
        unit_channels=64,
        init_cfg=None,
    ),
    neck=dict(unit_channels=64),
    head=dict(unit_channels=64, decoder=codec),
)

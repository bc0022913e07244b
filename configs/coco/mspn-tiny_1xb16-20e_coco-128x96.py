# A 2-stage MSPN for CPUs: 1.7 million parameters, trained in minutes on a small data set.
# Its heatmaps have half the input's size, not a quarter: the input is small already.
_base_ = './mspn50-2stg_8xb32-210e_coco-256x192.py'

codec = dict(
    type='MultiLevelHeatmap',
    input_size=(96, 128),
    heatmap_size=(48, 64),
    refine='gradient_sign',
)
load = [*_base_.read, dict(type='GetBBoxCenterScale', padding=1.15)]
load_test = [*_base_.read_test, dict(type='GetBBoxCenterScale', padding=1.15)]
augment = [
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='UniformBoxTransform', scale=(0.88, 1.18), rotation=0, shift=0.06),
]
crop = [dict(type='FastTopdownAffine', input_size=codec['input_size'])]
encode = [dict(type='GenerateTarget', encoder=codec)]
train_pipeline = [*load, *augment, *crop, *encode, *_base_.pack_train]
val_pipeline = [*load_test, *crop, *_base_.pack]

model = dict(
    backbone=dict(
        num_blocks=(1, 1, 1, 1),
        stem_channels=32,
        base_channels=16,
        unit_channels=64,
        init_cfg=None,
    ),
    neck=dict(unit_channels=64),
    head=dict(
        unit_channels=64,
        decoder=codec,
        # Targets reach 255. Starting near their scale saves the first epochs of a short training.
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=10, bias=0, layer='BatchNorm2d'),
        ],
    ),
)

train_cfg = dict(max_epochs=20, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=2e-2, fused=True))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=60, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=20, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=16)

train_dataloader = dict(batch_size=16, num_workers=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=2, dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

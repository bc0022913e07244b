# A 1-stage MSPN on EfficientNet-Lite0: 2.5 million parameters, for CPUs. With --amp bf16 two cores
# train it on some thousand photographs in hours. Two parts with smaller pictures come before this
# one, and one after it: docs/small-models.md has why, and `make small-models` does all four.
_base_ = './mspn50-1stg_8xb32-210e_coco-256x192.py'

codec = dict(
    type='MultiLevelHeatmap',
    input_size=(192, 256),
    heatmap_size=(48, 64),
    kernel_sizes=(15, 13, 11, 9, 7),
    refine='parabola',
)
augment = [
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='HalfBodyBox', upper_body_ids=[*range(11)], min_keypoints=8, prob=0.25),
    dict(type='UniformBoxTransform', scale=(0.7, 1.35), rotation=45, rotate_prob=0.6, shift=0.08),
]
crop = [dict(type='FastTopdownAffine', input_size=codec['input_size'])]
colour = [dict(type='PhotometricDistortion')]
encode = [dict(type='GenerateTarget', encoder=codec)]
train_pipeline = [*_base_.load, *augment, *crop, *colour, *encode, *_base_.pack_train]
val_pipeline = [*_base_.load_test, *crop, *_base_.pack]

backbone = dict(
    type='EfficientNetLite',
    parts=7,
    frozen=3,  # down to a quarter of the picture's size: half of a training step
    init_cfg=dict(type='Pretrained', checkpoint='efficientnet-lite0'),
)
model = dict(
    backbone=dict(
        unit_channels=96,
        downsample=dict(type='BackboneDownsample', backbone=backbone),
        init_cfg=None,
    ),
    neck=dict(unit_channels=96),
    head=dict(
        unit_channels=96,
        decoder=codec,
        # Targets reach 255. Starting near their scale saves the first epochs of a short training.
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=10, bias=0, layer='BatchNorm2d'),
        ],
    ),
)

max_epochs = 12
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1.2e-3, weight_decay=0.02, fused=True)
)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=200, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=32)
# Weights that are averaged over some hundred steps are the better ones all along.
average = dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.002, gamma=200)
custom_hooks = [*_base_.custom_hooks, average]
default_hooks = dict(checkpoint=dict(interval=1))  # an epoch takes minutes, and all of them hours

train_dataloader = dict(batch_size=32, num_workers=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=2, dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

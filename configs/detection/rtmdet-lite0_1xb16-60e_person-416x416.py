# A person detector on EfficientNet-Lite0, which starts from ImageNet weights: 2.8 million
# parameters, trained on a CPU with bf16 in hours on two thousand photographs.
_base_ = './rtmdet-nano_1xb8-12e_person-256x192.py'

custom_imports = dict(imports=['mspn_plugin', 'mspn_plugin.models.detector_head'])

levels, channels = [40, 112, 192], 64
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        _delete_=True,
        type='mmpose.EfficientNetLite',
        parts=7,
        frozen=3,
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='efficientnet-lite0'),
    ),
    neck=[
        dict(type='ChannelMapper', in_channels=levels, out_channels=channels, kernel_size=1),
        dict(
            type='YOLOXPAFPN',  # without depthwise convolutions, whose gradients are slow on CPUs
            in_channels=[channels] * 3,
            out_channels=channels,
            num_csp_blocks=1,
            norm_cfg=dict(type='BN'),
            act_cfg=dict(type='SiLU', inplace=True),
        ),
    ],
    bbox_head=dict(type='RTMDetFloatHead', in_channels=channels, feat_channels=channels),
    test_cfg=dict(max_per_img=100),
)

crop_size, test_size = (320, 320), (416, 416)
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
resize = dict(type='RandomResize', scale=test_size, ratio_range=(0.6, 1.6), keep_ratio=True)
finish = [
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=crop_size, pad_val=dict(img=(114, 114, 114))),
    dict(type='PackDetInputs'),
]
mosaic = dict(
    type='CachedMosaic', img_scale=test_size, pad_val=114.0, max_cached_images=40, random_pop=False
)
widely = dict(type='RandomResize', scale=(832, 832), ratio_range=(0.4, 1.4), keep_ratio=True)
train_pipeline = [*load, mosaic, widely, *finish]
train_pipeline_stage2 = [*load, resize, *finish]
read, _, _, *rest = _base_.test_pipeline
fit = dict(type='Resize', scale=test_size, keep_ratio=True)
fill = dict(type='Pad', size=test_size, pad_val=dict(img=(114, 114, 114)))
test_pipeline = [read, fit, fill, *rest]
train_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_epochs, plain_epochs = 60, 12
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=300),
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        eta_min=1e-5,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.002),
    dict(
        type='PipelineSwitchHook',
        switch_epoch=max_epochs - plain_epochs,
        switch_pipeline=train_pipeline_stage2,
    ),
]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2))

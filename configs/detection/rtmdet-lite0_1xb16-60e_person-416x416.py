# A person detector on EfficientNet-Lite0, which starts from ImageNet weights: 2.8 million
# parameters, trained on a CPU with bf16 in hours on two thousand photographs.
_base_ = ['mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py']

custom_imports = dict(
    imports=['mspn_plugin', 'mspn_plugin.models.detector_head'], allow_failed_imports=False
)

norm_cfg = dict(type='BN')
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
            norm_cfg=norm_cfg,
            act_cfg=dict(type='SiLU', inplace=True),
        ),
    ],
    bbox_head=dict(
        type='RTMDetFloatHead',
        num_classes=1,
        in_channels=channels,
        feat_channels=channels,
        exp_on_reg=True,  # sizes are learned in fewer steps
        norm_cfg=norm_cfg,
    ),
    test_cfg=dict(nms_pre=1000, score_thr=0.01, max_per_img=100),
)

data_root = 'data/coco/'
person = dict(classes=('person',), palette=[(220, 20, 60)])
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
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=test_size, keep_ratio=True),
    dict(type='Pad', size=test_size, pad_val=dict(img=(114, 114, 114))),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        data_root=data_root,
        metainfo=person,
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        metainfo=person,
        ann_file='annotations/person_keypoints_val2017.json',
        data_prefix=dict(img='val2017/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/person_keypoints_val2017.json')
test_evaluator = val_evaluator

max_epochs, plain_epochs = 60, 12
train_cfg = dict(max_epochs=max_epochs, val_interval=10, dynamic_intervals=None)
optim_wrapper = dict(optimizer=dict(lr=1e-3, fused=True))
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
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.002, priority='LOWEST'),
    dict(
        type='PipelineSwitchHook',
        switch_epoch=max_epochs - plain_epochs,
        switch_pipeline=train_pipeline_stage2,
    ),
]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2))

# A person detector for CPUs and small data sets: MMDet's RTMDet-tiny, a third as wide, without its
# mosaics. It trains in minutes from nothing; it is not a detector for photographs in general.
_base_ = ['mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py']

custom_imports = dict(imports=['mspn_plugin'], allow_failed_imports=False)

norm_cfg = dict(type='BN')
model = dict(
    backbone=dict(widen_factor=0.125, norm_cfg=norm_cfg, init_cfg=None),
    neck=dict(in_channels=[32, 64, 128], out_channels=32, norm_cfg=norm_cfg),
    bbox_head=dict(
        num_classes=1,
        in_channels=32,
        feat_channels=32,
        exp_on_reg=True,  # sizes are learned in fewer steps
        norm_cfg=norm_cfg,
    ),
    test_cfg=dict(nms_pre=1000, score_thr=0.01, max_per_img=50),
)

data_root = 'data/coco/'
person = dict(classes=('person',), palette=[(220, 20, 60)])
size = (256, 192)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=size, ratio_range=(0.8, 1.2), keep_ratio=True),
    dict(type='RandomCrop', crop_size=size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=size, pad_val=dict(img=(114, 114, 114))),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='Pad', size=size, pad_val=dict(img=(114, 114, 114))),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
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
    num_workers=2,
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

max_epochs = 12
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs, dynamic_intervals=None)
optim_wrapper = dict(optimizer=dict(lr=4e-3, fused=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        eta_min=1e-5,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
custom_hooks = []
default_hooks = dict(checkpoint=dict(interval=max_epochs, max_keep_ckpts=1))

# MPII at 256x256 with the original's boxes and augmentation, evaluated by PCKh@0.5 on the
# validation people of MMPose's annotation files.
_base_ = './loaders.py'

dataset_type = 'MegviiMpiiDataset'
data_mode = 'topdown'
data_root = 'data/mpii/'

codec = dict(
    type='MultiLevelHeatmap',
    input_size=(256, 256),
    heatmap_size=(64, 64),
    decode_kernel_size=9,
)

# An image that cannot be read: another person in training, the end of an evaluation.
read = [dict(type='GuardedLoading', step=dict(type='LoadPersonImage'), on_bad_image='replace')]
read_test = [dict(type='GuardedLoading', step=dict(type='LoadPersonImage', keep=True))]
load = [*read, dict(type='BoxMargins', width=1.25, height=1.25)]
load_test = [*read_test, dict(type='BoxMargins', width=1.25, height=1.25)]
augment = [
    dict(type='RandomFlip', direction='horizontal'),
    dict(
        type='HalfBodyBox',
        upper_body_ids=[7, 8, 9, 10, 11, 12, 13, 14, 15],  # thorax to left wrist
        min_keypoints=9,  # the original: more than 8
        prob=0.5,
        width_extra=0.6,
        height_extra=0.6,
    ),
    dict(type='UniformBoxTransform', scale=(0.75, 1.25), rotation=60, rotate_prob=0.5),
]
crop = [dict(type='FastTopdownAffine', input_size=codec['input_size'])]
encode = [dict(type='GenerateTarget', encoder=codec)]
pack = [dict(type='FastPackPoseInputs')]

train_pipeline = [*load, *augment, *crop, *encode, *pack]
val_pipeline = [*load_test, *crop, *pack]

train_dataloader = dict(
    batch_size=24,
    sampler=dict(type='InfiniteSampler', shuffle=True),  # the schedule counts iterations
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/mpii_train.json',
        data_prefix=dict(img='images/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/mpii_val.json',
        headbox_file=data_root + 'annotations/mpii_gt_val.mat',
        data_prefix=dict(img='images/'),
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='MpiiPCKAccuracy')  # its threshold is 0.5 of the head's size
test_evaluator = val_evaluator

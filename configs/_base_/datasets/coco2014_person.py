# COCO 2014 person keypoints at 256x192 with the original's division, boxes and augmentation:
# training and validation images without minival for training, minival for evaluation.
_base_ = './loaders.py'

dataset_type = 'Coco2014Dataset'
data_mode = 'topdown'
data_root = 'data/coco2014/'

codec = dict(type='MultiLevelHeatmap', input_size=(192, 256), heatmap_size=(48, 64))

# An image that cannot be read: another person in training, the end of an evaluation.
load = [dict(type='GuardedLoading', step=dict(type='LoadPersonImage'), on_bad_image='replace')]
load_test = [dict(type='GuardedLoading', step=dict(type='LoadPersonImage', keep=True))]
augment = [
    dict(type='RawAnnotation'),
    dict(type='BoxMargins', width=1.05, height=1.05, width_extra=0.6, height_extra=0.8),
    dict(type='RandomFlip', direction='horizontal'),
    # From the nose to the right hip.
    dict(type='HalfBodyBox', upper_body_ids=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    dict(type='UniformBoxTransform'),
]
margins = [dict(type='BoxMargins', width=1.09, height=1.135)]
crop = [dict(type='FastTopdownAffine', input_size=codec['input_size'])]
encode = [dict(type='GenerateTarget', encoder=codec)]
pack = [dict(type='FastPackPoseInputs')]
pack_train = [dict(type='FastPackPoseInputs', pack_annotation=False)]

train_pipeline = [*load, *augment, *crop, *encode, *pack_train]
val_pipeline = [*load_test, *margins, *crop, *pack]

train_dataloader = dict(
    sampler=dict(type='InfiniteSampler', shuffle=True),  # the schedule counts iterations
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='gt_json/train_val_minus_minival_2014.json',
        data_prefix=dict(img=''),  # train2014/ and val2014/
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='gt_json/minival_2014.json',
        bbox_file=data_root + 'det_json/minival_2014_det.json',
        data_prefix=dict(img=''),
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='CocoMetric',
    ann_file=data_root + 'gt_json/minival_2014.json',
    # Instance score: the detector's times the mean over all keypoints, however low they score.
    score_mode='bbox_keypoint',
    keypoint_score_thr=-1e6,
    nms_mode='none',
)
test_evaluator = val_evaluator

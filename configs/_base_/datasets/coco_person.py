# COCO 2017 person keypoints at 256x192, MMPose's augmentation; the pieces of the pipelines have
# names so that another input size replaces just the two that depend on it.
_base_ = './loaders.py'

dataset_type = 'CocoPersonDataset'
data_mode = 'topdown'
data_root = 'data/coco/'

codec = dict(
    type='MultiLevelHeatmap',
    input_size=(192, 256),
    heatmap_size=(48, 64),
    refine='gradient_sign',  # as MMPose decodes
)

# An image that cannot be read: another person in training, the end of an evaluation.
read = [dict(type='GuardedLoading', step=dict(type='LoadPersonImage'), on_bad_image='replace')]
read_test = [dict(type='GuardedLoading', step=dict(type='LoadPersonImage', keep=True))]
load = [*read, dict(type='GetBBoxCenterScale')]
load_test = [*read_test, dict(type='GetBBoxCenterScale')]
augment = [
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='RandomHalfBody'),
    dict(type='FastBBoxTransform'),
]
crop = [dict(type='FastTopdownAffine', input_size=codec['input_size'])]
encode = [dict(type='GenerateTarget', encoder=codec)]
pack = [dict(type='FastPackPoseInputs')]
pack_train = [dict(type='FastPackPoseInputs', pack_annotation=False)]

train_pipeline = [*load, *augment, *crop, *encode, *pack_train]
val_pipeline = [*load_test, *crop, *pack]

train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/person_keypoints_val2017.json',
        # The boxes of the published results (a detector with a person AP of 56.4).
        bbox_file=data_root
        + 'person_detection_results/COCO_val2017_detections_AP_H_56_person.json',
        data_prefix=dict(img='val2017/'),
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='CocoMetric',
    ann_file=data_root + 'annotations/person_keypoints_val2017.json',
    nms_mode='none',
)
test_evaluator = val_evaluator

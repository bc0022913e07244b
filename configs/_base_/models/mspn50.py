# MSPN on ResNet-50. The config that uses it sets num_stages three times and the head's decoder.
model = dict(
    type='MSPNPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        non_blocking=True,
    ),
    backbone=dict(
        type='MSPNBackbone',
        num_blocks=(3, 4, 6, 3),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(type='MSPNNeck'),
    head=dict(
        type='MultiStageHead',
        num_keypoints=17,
        coarse_to_fine=True,
        coarse_loss=dict(type='KeypointMeanMSELoss', loss_weight=0.25),
        final_loss=dict(type='OHKMMSELoss', topk=8),
    ),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=False),
)

# The first part of the training of mspn-small: at 128x96 a step takes half the time, broad targets
# are learned sooner than narrow ones, and hard keypoints can wait. docs/small-models.md has the
# figures behind it.
_base_ = './mspn-small_1xb32-40e_coco-192x144.py'

codec = dict(
    type='MultiLevelHeatmap',
    input_size=(96, 128),
    heatmap_size=(24, 32),
    kernel_sizes=(11, 9, 9, 7, 5),
    refine='parabola',
)
crop = [dict(type='FastTopdownAffine', input_size=codec['input_size'])]
encode = [dict(type='GenerateTarget', encoder=codec)]
train_pipeline = [
    *_base_.load,
    *_base_.augment,
    *crop,
    *_base_.colour,
    *encode,
    *_base_.pack_train,
]
val_pipeline = [*_base_.load_test, *crop, *_base_.pack]

model = dict(
    head=dict(decoder=codec, final_loss=dict(_delete_=True, type='KeypointMeanMSELoss')),
)

max_epochs = 30
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=max_epochs, by_epoch=True, convert_to_iter_based=True),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

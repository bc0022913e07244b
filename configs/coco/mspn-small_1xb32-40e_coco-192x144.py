# The second part of the training of mspn-small, or a faster model of its own. The targets are broad
# against the person: those are learned in fewer steps.
_base_ = './mspn-small_1xb32-12e_coco-256x192.py'

codec = dict(
    type='MultiLevelHeatmap',
    input_size=(144, 192),
    heatmap_size=(36, 48),
    kernel_sizes=(15, 13, 11, 9, 7),
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

model = dict(head=dict(decoder=codec))

max_epochs = 40
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=max_epochs, by_epoch=True, convert_to_iter_based=True),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

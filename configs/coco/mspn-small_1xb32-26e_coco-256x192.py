# The last part of the training of mspn-small, whose weights ship: targets peak at the keypoint
# itself instead of the middle of its cell, and people are turned and scaled less.
_base_ = './mspn-small_1xb32-12e_coco-256x192.py'

codec = dict(_base_.codec, exact=True)
augment = [
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='HalfBodyBox', upper_body_ids=[*range(11)], min_keypoints=8, prob=0.2),
    dict(type='UniformBoxTransform', scale=(0.75, 1.3), rotation=30, rotate_prob=0.5, shift=0.08),
]
encode = [dict(type='GenerateTarget', encoder=codec)]
train_pipeline = [
    *_base_.load,
    *augment,
    *_base_.crop,
    *_base_.colour,
    *encode,
    *_base_.pack_train,
]
model = dict(head=dict(decoder=codec))

max_epochs = 26
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=200, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=max_epochs, by_epoch=True, convert_to_iter_based=True),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

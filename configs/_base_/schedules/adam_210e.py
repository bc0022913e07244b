# MMPose's schedule for MSPN: 210 epochs of Adam at 5e-3 for a total batch of 256.
_base_ = ['../runtime.py']

train_cfg = dict(max_epochs=210, val_interval=10)

# Fused: the same step in one pass over the weights.
optim_wrapper = dict(optimizer=dict(type='Adam', lr=5e-3, fused=True))

param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=210, milestones=[170, 200], gamma=0.1, by_epoch=True),
]

# `--auto-scale-lr` adapts the rate to another total batch.
auto_scale_lr = dict(base_batch_size=256)

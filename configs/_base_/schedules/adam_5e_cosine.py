# The fine-tuning of the MindSpore version: 5 epochs of Adam, whose rate falls from 5e-4 to 0 along
# a cosine, one step after every epoch.
_base_ = ['../runtime.py']

train_cfg = dict(max_epochs=5, val_interval=1)

# Fused: the same step in one pass over the weights.
optim_wrapper = dict(optimizer=dict(type='Adam', lr=5e-4, fused=True))

param_scheduler = [dict(type='CosineAnnealingLR', T_max=5, by_epoch=True)]

# `--auto-scale-lr` adapts the rate to another total batch.
auto_scale_lr = dict(base_batch_size=62)

default_hooks = dict(checkpoint=dict(interval=1))

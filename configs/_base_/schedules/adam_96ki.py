# The original's schedule: 96,000 iterations of Adam, 5e-4 for each of 8 GPUs with 32 images.
# At iteration i the rate is 0.1 + 0.9 i / 2400 of that, up to 2,400; from there a straight line
# goes down to 0 at 96,000.
_base_ = ['../runtime.py']

train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=96000, val_interval=2400)

# Fused: the same step in one pass over the weights.
optim_wrapper = dict(optimizer=dict(type='Adam', lr=8 * 5e-4, weight_decay=1e-5, fused=True))

# MMEngine reaches the end of a line one iteration before `end`.
warm_up = dict(type='LinearLR', begin=0, end=2401, start_factor=0.1, by_epoch=False)
cool_down = dict(
    type='LinearLR', begin=2400, end=96001, start_factor=1.0, end_factor=0.0, by_epoch=False
)
param_scheduler = [warm_up, cool_down]

# `--auto-scale-lr` adapts the rate to another total batch.
auto_scale_lr = dict(base_batch_size=256)

default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=2400),
    logger=dict(log_metric_by_epoch=False),
)
log_processor = dict(by_epoch=False)

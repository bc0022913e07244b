# The small detector for one class of one's own; it starts from the weights that ship.
_base_ = '../detection/rtmdet-lite0_1xb16-60e_person-416x416.py'

model = dict(backbone=dict(init_cfg=None))
images = dict(data_prefix=dict(img='images/'))
train_dataloader = dict(batch_size=8, dataset=dict(ann_file='annotations/train.json', **images))
val_dataloader = dict(dataset=dict(ann_file='annotations/val.json', **images))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=5e-4))
warm_up = dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50)
average = _base_.custom_hooks[0]
plain = dict(type='PipelineSwitchHook', switch_pipeline=_base_.train_pipeline_stage2)

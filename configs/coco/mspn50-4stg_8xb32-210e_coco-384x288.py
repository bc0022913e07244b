_base_ = './mspn50-4stg_8xb32-210e_coco-256x192.py'

codec = dict(
    type='MultiLevelHeatmap',
    input_size=(288, 384),
    heatmap_size=(72, 96),
    refine='gradient_sign',
)
crop = [dict(type='FastTopdownAffine', input_size=codec['input_size'])]
encode = [dict(type='GenerateTarget', encoder=codec)]
train_pipeline = [*_base_.load, *_base_.augment, *crop, *encode, *_base_.pack_train]
val_pipeline = [*_base_.load_test, *crop, *_base_.pack]

model = dict(head=dict(decoder=codec))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

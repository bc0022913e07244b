# The same for what is wider than high, as many animals are.
_base_ = './mspn-small_1xb16_own-192x144.py'

codec = dict(
    type='MultiLevelHeatmap',
    input_size=(192, 144),
    heatmap_size=(48, 36),
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
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

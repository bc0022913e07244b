_base_ = [
    '../_base_/datasets/coco2014_person.py',
    '../_base_/models/mspn50_bgr.py',
    '../_base_/schedules/adam_96ki.py',
]

num_stages = 2
model = dict(
    backbone=dict(num_stages=num_stages),
    neck=dict(num_stages=num_stages),
    head=dict(num_stages=num_stages, decoder=_base_.codec),
)

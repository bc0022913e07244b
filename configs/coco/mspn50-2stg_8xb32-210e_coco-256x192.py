_base_ = [
    '../_base_/datasets/coco_person.py',
    '../_base_/models/mspn50.py',
    '../_base_/schedules/adam_210e.py',
]

num_stages = 2
model = dict(
    backbone=dict(num_stages=num_stages),
    neck=dict(num_stages=num_stages),
    head=dict(num_stages=num_stages, decoder=_base_.codec),
)

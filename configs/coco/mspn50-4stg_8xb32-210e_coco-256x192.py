_base_ = './mspn50-2stg_8xb32-210e_coco-256x192.py'

num_stages = 4
model = dict(
    backbone=dict(num_stages=num_stages),
    neck=dict(num_stages=num_stages),
    head=dict(num_stages=num_stages),
)

_base_ = './mspn50-2stg_8xb32-96ki_coco2014-256x192_megvii.py'

num_stages = 1
model = dict(
    backbone=dict(num_stages=num_stages),
    neck=dict(num_stages=num_stages),
    head=dict(num_stages=num_stages),
)

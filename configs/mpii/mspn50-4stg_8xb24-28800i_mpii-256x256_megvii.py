_base_ = './mspn50-2stg_8xb24-28800i_mpii-256x256_megvii.py'

num_stages = 4
model = dict(
    backbone=dict(num_stages=num_stages),
    neck=dict(num_stages=num_stages),
    head=dict(num_stages=num_stages),
)

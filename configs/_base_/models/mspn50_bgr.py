# MSPN on ResNet-50 as the original trains it: images stay BGR, and the coarse units draw only the
# keypoints that can be seen, for which the data must give the raw visibility.
_base_ = './mspn50.py'

model = dict(
    data_preprocessor=dict(
        mean=[103.53, 116.28, 123.675],
        std=[57.375, 57.12, 58.395],
        bgr_to_rgb=False,
    ),
    head=dict(
        coarse_loss=dict(type='VisibleKeypointMSELoss'),
        final_loss=dict(binary_weights=True),
    ),
)

_base_ = '../_base_/pairs/faster_rcnn_r50_mv2.py'

model = dict(
    losses=dict(
        # Stride 8, as the second stage of a ResNet.
        hint=dict(
            type='HintLoss',
            student='backbone.layer3',
            teacher='backbone.layer2',
            regressor='conv',
            loss_weight=0.1,
        )
    )
)

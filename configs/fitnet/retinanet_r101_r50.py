_base_ = '../_base_/pairs/retinanet_r101_r50.py'

model = dict(
    losses=dict(
        hint=dict(
            type='HintLoss',
            student='backbone.layer2',
            teacher='backbone.layer2',
            regressor='conv',
            loss_weight=0.1,
        )
    )
)

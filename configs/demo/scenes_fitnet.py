_base_ = './scenes_reviewkd.py'

model = dict(
    losses=dict(
        _delete_=True,
        hint=dict(
            type='HintLoss',
            student='backbone.layer2',
            teacher='backbone.layer2',
            regressor='conv',
            loss_weight=0.1,
        ),
    )
)

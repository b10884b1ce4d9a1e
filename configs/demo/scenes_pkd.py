_base_ = './scenes_reviewkd.py'

model = dict(
    losses=dict(
        _delete_=True,
        pkd=dict(type='PKDLoss', student='neck', teacher='neck', loss_weight=6.0),
    )
)

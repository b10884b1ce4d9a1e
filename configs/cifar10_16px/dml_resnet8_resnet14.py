_base_ = './dml_resnet8_resnet8.py'

model = dict(
    networks=[
        dict(model=_base_.model.networks[0].model),
        dict(
            model=dict(
                _base_.model.networks[0].model, backbone=dict(type='mmkd.CIFARResNet', depth=14)
            )
        ),
    ]
)

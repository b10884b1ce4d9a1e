_base_ = './dcm_resnet8_resnet8.py'

_resnet8 = _base_.model.networks[0]
model = dict(
    networks=[
        _resnet8,
        dict(
            _resnet8,
            model=dict(_resnet8.model, backbone=dict(type='mmkd.CIFARResNet', depth=14)),
        ),
    ]
)

# Auxiliary classifiers in the proportions of ResNet-110's (DCM supplement, Table 1).
_base_ = './dml_resnet8_resnet8.py'

_exits = [
    dict(
        tap='backbone.layer1',
        type='mmkd.ResNetExit',
        in_channels=16,
        stages=[(32, 1, 2), (64, 1, 2)],
    ),
    dict(tap='backbone.layer2', type='mmkd.ResNetExit', in_channels=32, stages=[(128, 1, 2)]),
]
model = dict(
    networks=[
        dict(_base_.model.networks[0], exits=_exits),
        dict(_base_.model.networks[1], exits=_exits),
    ]
)

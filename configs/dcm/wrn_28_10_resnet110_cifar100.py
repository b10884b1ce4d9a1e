# Auxiliary classifiers C3 and C2 of the supplement's Tables 3 and 1.
_base_ = '../dml/wrn_28_10_resnet110_cifar100.py'

model = dict(
    networks=[
        dict(
            _base_.model.networks[0],
            exits=[
                dict(
                    tap='backbone.layer1',
                    type='mmkd.PreActExit',
                    in_channels=160,
                    stages=[(320, 4, 2), (640, 2, 2)],
                ),
                dict(
                    tap='backbone.layer2',
                    type='mmkd.PreActExit',
                    in_channels=320,
                    stages=[(1280, 4, 2)],
                ),
            ],
        ),
        dict(
            _base_.model.networks[1],
            exits=[
                dict(
                    tap='backbone.layer1',
                    type='mmkd.ResNetExit',
                    in_channels=16,
                    stages=[(32, 9, 2), (64, 9, 2)],
                ),
                dict(
                    tap='backbone.layer2',
                    type='mmkd.ResNetExit',
                    in_channels=32,
                    stages=[(128, 18, 2)],
                ),
            ],
        ),
    ]
)

# Auxiliary classifiers C3 and C2 of the supplement's Table 3.
_base_ = '../dml/wrn_28_10_wrn_28_4_cifar100.py'

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
                    type='mmkd.PreActExit',
                    in_channels=64,
                    stages=[(128, 4, 2), (256, 2, 2)],
                ),
                dict(
                    tap='backbone.layer2',
                    type='mmkd.PreActExit',
                    in_channels=128,
                    stages=[(512, 4, 2)],
                ),
            ],
        ),
    ]
)

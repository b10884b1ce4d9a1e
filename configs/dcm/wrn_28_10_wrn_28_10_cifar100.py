# Auxiliary classifiers C3 and C2 of the supplement's Table 3.
_base_ = '../dml/wrn_28_10_wrn_28_10_cifar100.py'

model = dict(
    networks=[
        dict(
            net,
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
        )
        for net in _base_.model.networks
    ]
)

# Auxiliary classifiers C3 and C2 of the supplement's Table 1.
_base_ = '../dml/preact_resnet164_preact_resnet164_cifar100.py'

model = dict(
    networks=[
        dict(
            net,
            exits=[
                dict(
                    tap='backbone.layer1',
                    type='mmkd.PreActExit',
                    in_channels=64,
                    stages=[(128, 9, 2), (256, 9, 2)],
                    bottleneck=True,
                ),
                dict(
                    tap='backbone.layer2',
                    type='mmkd.PreActExit',
                    in_channels=128,
                    stages=[(512, 18, 2)],
                    bottleneck=True,
                ),
            ],
        )
        for net in _base_.model.networks
    ]
)

# Auxiliary classifiers of half the growth rate, supplement 2.2.
_base_ = '../densenet40_12_densenet40_12_cifar100.py'

model = dict(
    networks=[
        dict(
            net,
            exits=[
                dict(
                    tap='backbone.layer1',
                    type='mmkd.DenseNetExit',
                    in_channels=160,
                    stages=[(6, 12), (6, 6)],
                ),
                dict(
                    tap='backbone.layer2',
                    type='mmkd.DenseNetExit',
                    in_channels=304,
                    stages=[(18, 12)],
                ),
            ],
        )
        for net in _base_.model.networks
    ]
)

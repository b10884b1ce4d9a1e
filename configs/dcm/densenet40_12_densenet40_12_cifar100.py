# Auxiliary classifiers C3 and C2 of the supplement's Table 2.
_base_ = '../dml/densenet40_12_densenet40_12_cifar100.py'

model = dict(
    networks=[
        dict(
            net,
            exits=[
                dict(
                    tap='backbone.layer1',
                    type='mmkd.DenseNetExit',
                    in_channels=160,
                    stages=[(12, 12), (12, 6)],
                ),
                dict(
                    tap='backbone.layer2',
                    type='mmkd.DenseNetExit',
                    in_channels=304,
                    stages=[(36, 12)],
                ),
            ],
        )
        for net in _base_.model.networks
    ]
)

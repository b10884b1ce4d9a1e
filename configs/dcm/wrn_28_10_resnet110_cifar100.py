# The second network's auxiliary classifiers are C3 and C2 of the supplement's Table 1.
_base_ = './wrn_28_10_wrn_28_10_cifar100.py'

model = dict(
    networks=[
        _base_.model.networks[0],
        dict(
            model=dict(
                _base_.model.networks[1].model,
                backbone=dict(type='mmkd.CIFARResNet', depth=110),
                head=dict(_base_.model.networks[1].model.head, in_channels=64),
            ),
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
            input_shape=(3, 32, 32),
        ),
    ]
)

# The second network's auxiliary classifiers are C3 and C2 of the supplement's Table 3.
_base_ = './wrn_28_10_wrn_28_10_cifar100.py'

model = dict(
    networks=[
        _base_.model.networks[0],
        dict(
            model=dict(
                _base_.model.networks[1].model,
                backbone=dict(_base_.model.networks[1].model.backbone, widen_factor=4),
                head=dict(_base_.model.networks[1].model.head, in_channels=256),
            ),
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
            input_shape=(3, 32, 32),
        ),
    ]
)

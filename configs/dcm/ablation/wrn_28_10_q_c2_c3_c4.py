# Q with a third auxiliary classifier after conv1, C4 of the supplement's Table 3.
_base_ = '../wrn_28_10_wrn_28_10_cifar100.py'

model = dict(
    networks=[
        dict(
            net,
            exits=[
                dict(
                    tap='backbone.stem',
                    type='mmkd.PreActExit',
                    in_channels=16,
                    stages=[(160, 4, 1), (320, 2, 2), (640, 2, 2)],
                ),
                *net.exits,
            ],
        )
        for net in _base_.model.networks
    ]
)

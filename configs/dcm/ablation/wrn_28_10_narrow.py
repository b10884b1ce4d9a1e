# Auxiliary classifiers of half the width, supplement 2.2.
_base_ = '../wrn_28_10_wrn_28_10_cifar100.py'

model = dict(
    networks=[
        dict(
            net,
            exits=[
                dict(
                    tap='backbone.layer1',
                    type='mmkd.PreActExit',
                    in_channels=160,
                    stages=[(160, 4, 2), (320, 2, 2)],
                ),
                dict(
                    tap='backbone.layer2',
                    type='mmkd.PreActExit',
                    in_channels=320,
                    stages=[(640, 4, 2)],
                ),
            ],
        )
        for net in _base_.model.networks
    ]
)

# Auxiliary classifiers C3 and C2 of the supplement's Table 5.
_base_ = '../dml/resnet18_resnet18_imagenet.py'

model = dict(
    networks=[
        dict(
            net,
            exits=[
                dict(
                    tap='backbone.layer2',
                    type='mmkd.ResNetExit',
                    in_channels=128,
                    stages=[(256, 1, 2), (512, 2, 2)],
                ),
                dict(
                    tap='backbone.layer3',
                    type='mmkd.ResNetExit',
                    in_channels=256,
                    stages=[(1024, 2, 2)],
                ),
            ],
        )
        for net in _base_.model.networks
    ]
)

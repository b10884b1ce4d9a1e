# Auxiliary classifiers C3 and C2 of the supplement's Table 5.
_base_ = '../dml/resnet50_resnet18_imagenet.py'

model = dict(
    networks=[
        dict(
            _base_.model.networks[0],
            exits=[
                dict(
                    tap='backbone.layer2',
                    type='mmkd.ResNetExit',
                    in_channels=512,
                    stages=[(1024, 3, 2), (2048, 2, 2)],
                    bottleneck=True,
                ),
                dict(
                    tap='backbone.layer3',
                    type='mmkd.ResNetExit',
                    in_channels=1024,
                    stages=[(4096, 3, 2)],
                    bottleneck=True,
                ),
            ],
        ),
        dict(
            _base_.model.networks[1],
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
        ),
    ]
)

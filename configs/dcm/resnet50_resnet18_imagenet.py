# The first network's auxiliary classifiers are C3 and C2 of the supplement's Table 5.
_base_ = './resnet18_resnet18_imagenet.py'

model = dict(
    networks=[
        dict(
            model=dict(
                _base_.model.networks[0].model,
                backbone=dict(_base_.model.networks[0].model.backbone, depth=50),
                head=dict(_base_.model.networks[0].model.head, in_channels=2048),
            ),
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
        _base_.model.networks[1],
    ]
)

# The second network's auxiliary classifiers are C3 and C2 of the supplement's Table 4.
_base_ = './wrn_28_10_wrn_28_10_cifar100.py'

model = dict(
    networks=[
        _base_.model.networks[0],
        dict(
            model=dict(
                _base_.model.networks[1].model,
                backbone=dict(type='mmkd.MobileNetV1', stem_stride=1, strides=(1, 1, 1, 2, 2)),
                head=dict(_base_.model.networks[1].model.head, in_channels=1024),
            ),
            exits=[
                dict(
                    tap='backbone.layer3',
                    type='mmkd.MobileNetV1Exit',
                    in_channels=256,
                    stages=[(512, 6, 2), (1024, 2, 2)],
                ),
                dict(
                    tap='backbone.layer4',
                    type='mmkd.MobileNetV1Exit',
                    in_channels=512,
                    stages=[(2048, 2, 2)],
                ),
            ],
            input_shape=(3, 32, 32),
        ),
    ]
)

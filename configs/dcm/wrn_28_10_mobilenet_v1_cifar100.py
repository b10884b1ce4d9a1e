# Auxiliary classifiers C3 and C2 of the supplement's Tables 3 and 4.
_base_ = '../dml/wrn_28_10_mobilenet_v1_cifar100.py'

model = dict(
    networks=[
        dict(
            _base_.model.networks[0],
            exits=[
                dict(
                    tap='backbone.layer1',
                    type='mmkd.PreActExit',
                    in_channels=160,
                    stages=[(320, 4, 2), (640, 2, 2)],
                ),
                dict(
                    tap='backbone.layer2',
                    type='mmkd.PreActExit',
                    in_channels=320,
                    stages=[(1280, 4, 2)],
                ),
            ],
        ),
        dict(
            _base_.model.networks[1],
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
        ),
    ]
)

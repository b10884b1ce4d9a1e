# Auxiliary classifiers C3 and C2 of the supplement's Table 6.
_base_ = '../dml/mobilenet_v2_mobilenet_v2_imagenet.py'

model = dict(
    networks=[
        dict(
            net,
            exits=[
                dict(
                    tap='backbone.layer5',
                    type='mmkd.MobileNetV2Exit',
                    in_channels=96,
                    stages=[(6, 160, 3, 2), (3, 320, 1, 1)],
                    out_channels=1280,
                ),
                dict(
                    tap='backbone.layer6',
                    type='mmkd.MobileNetV2Exit',
                    in_channels=160,
                    stages=[(6, 480, 1, 1)],
                    out_channels=1920,
                ),
            ],
        )
        for net in _base_.model.networks
    ]
)

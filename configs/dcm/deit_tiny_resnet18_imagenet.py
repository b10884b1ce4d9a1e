# A transformer and a convolutional network; no paper's. DeiT's exits are MLP-EE on its class token,
# ResNet-18's those of the supplement's Table 5, both at half and three quarters of the depth.
_base_ = '../dml/deit_tiny_resnet18_imagenet.py'

model = dict(
    networks=[
        dict(
            _base_.model.networks[0],
            exits=[
                dict(
                    tap=f'backbone.layers.{index}',
                    type='mmkd.TokenExit',
                    in_channels=192,
                    channels=(192,),
                )
                for index in (5, 8)
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

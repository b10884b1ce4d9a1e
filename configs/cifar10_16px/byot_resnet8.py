# Exits as in BYOT's ResNet-18: one block to the last map's channels and size.
_base_ = './exits_ce_resnet8.py'

model = dict(
    student=dict(
        exits=[
            dict(
                tap='backbone.layer1',
                type='mmkd.BYOTExit',
                in_channels=16,
                channels=(64,),
                strides=(4,),
            ),
            dict(
                tap='backbone.layer2',
                type='mmkd.BYOTExit',
                in_channels=32,
                channels=(64,),
                strides=(2,),
            ),
        ]
    ),
    objective=dict(type='mmkd.BYOTLoss'),
)

model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmkd.MSDNet', num_exits=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=128,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        # The weights are torch's own, the bias is 0, as in kalviny/MSDNet-PyTorch.
        init_cfg=dict(
            type='Kaiming',
            layer='Linear',
            a=5**0.5,
            mode='fan_in',
            nonlinearity='leaky_relu',
            distribution='uniform',
        ),
    ),
)

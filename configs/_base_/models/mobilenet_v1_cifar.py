model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmkd.MobileNetV1', stem_stride=1, strides=(1, 1, 1, 2, 2)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=1024,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)

model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmkd.CIFARMobileNetV2', stem_stride=1, act_cfg=dict(type='ReLU6')),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=1280,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)

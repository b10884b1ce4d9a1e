model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmkd.CIFARDenseNet', depth=40, growth_rate=12),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=448,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)

model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmkd.CIFARResNet', depth=20),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=64,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        init_cfg=None,  # torch's own, as in the CRD benchmark
    ),
)

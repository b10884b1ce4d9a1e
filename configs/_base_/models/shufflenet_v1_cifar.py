# Starts as torch starts all layers, as in the CRD benchmark.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmkd.CIFARShuffleNetV1', init_cfg=None),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=960,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        init_cfg=None,
    ),
)

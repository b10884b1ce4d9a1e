# DINOv2 teaches the backbone of a ResNet-50 its patch features, on images without labels; the
# schedule is no paper's. Any folder of images will do in place of ImageNet's.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    type='mmkd.OfflineDistiller',
    student=dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=50)),
    student_loss_weight=0.0,
    teacher=dict(
        config='mmpretrain::dinov2/vit-small-p14_dinov2-pre_headless.py',
        # 16x16 patches of 14 pixels.
        input_size=224,
    ),
    losses=dict(
        hint=dict(
            type='HintLoss',
            student=dict(tap='backbone.layer4', to='map', size=16),
            teacher=dict(tap='backbone.ln1', to='map'),
            regressor='conv',
        )
    ),
)

_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root='data/imagenet/train',
        with_label=False,
        pipeline=_pipeline,
    ),
)
# There is nothing to validate by without labels.
val_dataloader = test_dataloader = None
val_evaluator = test_evaluator = None
val_cfg = test_cfg = None

optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=95, by_epoch=True, begin=5, end=100),
]
train_cfg = dict(by_epoch=True, max_epochs=100)
auto_scale_lr = dict(base_batch_size=256)

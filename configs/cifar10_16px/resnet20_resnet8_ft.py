_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    losses=dict(
        ft=dict(
            type='FactorTransferLoss',
            student='backbone.layer3',
            teacher='backbone.layer3',
            form='crd',
            loss_weight=200.0,
        )
    ),
)
custom_hooks = [
    dict(
        type='mmkd.PretrainHook',
        losses=['ft'],
        length=98,
        by_epoch=False,
        optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4),
    )
]

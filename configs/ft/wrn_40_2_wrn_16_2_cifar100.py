_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_16_2_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        ft=dict(
            type='FactorTransferLoss',
            student='backbone.layer3',
            teacher='backbone.layer3',
            loss_weight=500.0,
        )
    ),
)
custom_hooks = [
    dict(
        type='mmkd.PretrainHook',
        losses=['ft'],
        epochs=30,
        optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4),
    )
]

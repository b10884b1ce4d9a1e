_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='FactorTransferLoss', form='crd', loss_weight=200.0)
custom_hooks = [
    dict(
        type='mmkd.PretrainHook',
        losses=['ft'],
        length=30,
        optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4),
    )
]

_base_ = [
    '../_base_/pairs/resnet56_resnet20_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        hint=dict(
            type='HintLoss', student='backbone.layer2', teacher='backbone.layer2', loss_weight=100.0
        )
    ),
)

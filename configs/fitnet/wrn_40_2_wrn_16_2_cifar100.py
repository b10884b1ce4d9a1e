_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_16_2_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        hint=dict(
            type='HintLoss', student='backbone.layer2', teacher='backbone.layer2', loss_weight=100.0
        )
    ),
)

_base_ = [
    '../_base_/pairs/resnet50_vgg8_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        hint=dict(
            type='HintLoss', student='backbone.layer3', teacher='backbone.layer2', loss_weight=100.0
        )
    ),
)

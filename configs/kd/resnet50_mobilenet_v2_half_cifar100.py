_base_ = [
    '../_base_/pairs/resnet50_mobilenet_v2_half_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    student_loss_weight=0.1,
    losses=dict(
        kd=dict(
            type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0, loss_weight=0.9
        )
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))

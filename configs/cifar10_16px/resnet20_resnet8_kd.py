_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    student_loss_weight=0.1,
    losses=dict(
        kd=dict(
            type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0, loss_weight=0.9
        )
    ),
)

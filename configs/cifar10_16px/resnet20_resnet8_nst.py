_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    losses=dict(
        nst=dict(
            type='NSTLoss',
            student=_base_.student_stages,
            teacher=_base_.teacher_stages,
            loss_weight=50.0,
        )
    ),
)

_base_ = [
    '../_base_/pairs/vgg13_vgg8_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        vid=dict(
            type='VIDLoss',
            student=_base_.student_stages,
            teacher=_base_.teacher_stages,
            loss_weight=1.0,
        )
    ),
)

_base_ = [
    '../_base_/pairs/resnet110_resnet20_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        ofd=dict(
            type='OFDLoss',
            student=_base_.student_preactivations,
            teacher=_base_.teacher_preactivations,
            loss_weight=1e-3,
        )
    ),
)

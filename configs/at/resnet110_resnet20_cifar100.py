_base_ = [
    '../_base_/pairs/resnet110_resnet20_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

model = dict(
    losses=dict(
        at=dict(
            type='AttentionTransferLoss',
            student=_base_.student_stages,
            teacher=_base_.teacher_stages,
            loss_weight=1000.0,
        )
    ),
)

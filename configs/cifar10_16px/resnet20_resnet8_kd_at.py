_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    losses=dict(
        kd=dict(
            type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0, loss_weight=1.0
        ),
        at=dict(
            type='AttentionTransferLoss',
            student=_base_.student_stages,
            teacher=_base_.teacher_stages,
            loss_weight=1000.0,
        ),
    )
)

_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

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

_base_ = '../_base_/pairs/resnet20_resnet8_cifar10.py'

model = dict(
    losses=dict(
        ab=dict(
            type='ABLoss',
            student=_base_.student_preactivations,
            teacher=_base_.teacher_preactivations,
            loss_weight=1.0,
            end=0,
        )
    ),
)
custom_hooks = [dict(type='mmkd.PretrainHook', losses=['ab'], length=98, by_epoch=False)]

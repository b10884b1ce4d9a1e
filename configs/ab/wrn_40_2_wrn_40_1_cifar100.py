_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_40_1_cifar100.py',
    '../_base_/schedules/cifar100_crd_240e.py',
]

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
custom_hooks = [dict(type='mmkd.PretrainHook', losses=['ab'], epochs=30)]

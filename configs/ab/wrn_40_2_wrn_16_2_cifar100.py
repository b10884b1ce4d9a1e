_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_16_2_cifar100.py',
    '../_base_/methods/ab_cifar100.py',
]

model = dict(
    losses=dict(
        ab=dict(
            _base_.term,
            student=_base_.student_preactivations,
            teacher=_base_.teacher_preactivations,
        )
    )
)
# The benchmark leaves the norm behind the last stage out of the first phase.
custom_hooks = [
    dict(type='mmkd.PretrainHook', losses=['ab'], length=30, frozen=['student.backbone.tail'])
]

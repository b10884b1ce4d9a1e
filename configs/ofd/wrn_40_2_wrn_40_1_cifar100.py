_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_40_1_cifar100.py',
    '../_base_/methods/ofd_cifar100.py',
]

model = dict(
    losses=dict(
        ofd=dict(
            _base_.term,
            student=_base_.student_preactivations,
            teacher=[*_base_.teacher_preactivations, *_base_.teacher_norms],
        )
    )
)

_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_40_1_cifar100.py',
    '../_base_/methods/reviewkd_cifar100.py',
]

model = dict(
    losses=dict(
        review=dict(
            _base_.term,
            student=[*_base_.student_stages, 'neck[0]'],
            teacher=[*_base_.teacher_preactivations, 'neck[0]'],
        )
    )
)

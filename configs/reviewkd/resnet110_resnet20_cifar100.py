_base_ = [
    '../_base_/pairs/resnet110_resnet20_cifar100.py',
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

_base_ = [
    '../_base_/pairs/resnet110_resnet32_cifar100.py',
    '../_base_/methods/at_cifar100.py',
]

model = dict(
    losses=dict(at=dict(_base_.term, student=_base_.student_stages, teacher=_base_.teacher_stages))
)

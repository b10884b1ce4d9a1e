_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_16_2_cifar100.py',
    '../_base_/methods/at_cifar100.py',
]

model = dict(
    losses=dict(at=dict(_base_.term, student=_base_.student_stages, teacher=_base_.teacher_stages))
)

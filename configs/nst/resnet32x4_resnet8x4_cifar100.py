_base_ = [
    '../_base_/pairs/resnet32x4_resnet8x4_cifar100.py',
    '../_base_/methods/nst_cifar100.py',
]

model = dict(
    losses=dict(nst=dict(_base_.term, student=_base_.student_stages, teacher=_base_.teacher_stages))
)

_base_ = [
    '../_base_/pairs/vgg13_mobilenet_v2_half_cifar100.py',
    '../_base_/methods/nst_cifar100.py',
]

model = dict(
    losses=dict(nst=dict(_base_.term, student=_base_.student_stages, teacher=_base_.teacher_stages))
)
optim_wrapper = dict(optimizer=dict(lr=0.01))

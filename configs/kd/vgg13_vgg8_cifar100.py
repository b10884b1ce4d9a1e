_base_ = [
    '../_base_/pairs/vgg13_vgg8_cifar100.py',
    '../_base_/methods/kd_cifar100.py',
]

model = dict(student_loss_weight=0.1, losses=dict(kd=_base_.term))

_base_ = [
    '../_base_/pairs/resnet110_resnet32_cifar100.py',
    '../_base_/methods/kd_cifar100.py',
]

model = dict(student_loss_weight=0.1, losses=dict(kd=_base_.term))

_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_40_1_cifar100.py',
    '../_base_/methods/kd_cifar100.py',
]

model = dict(student_loss_weight=0.1, losses=dict(kd=_base_.term))

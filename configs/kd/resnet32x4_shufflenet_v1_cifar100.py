_base_ = [
    '../_base_/pairs/resnet32x4_shufflenet_v1_cifar100.py',
    '../_base_/methods/kd_cifar100.py',
]

model = dict(student_loss_weight=0.1, losses=dict(kd=_base_.term))
optim_wrapper = dict(optimizer=dict(lr=0.01))

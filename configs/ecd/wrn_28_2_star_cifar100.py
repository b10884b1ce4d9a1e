_base_ = 'wrn_40_2_star_cifar100.py'

model = dict(student=dict(backbone=dict(depth=28)))

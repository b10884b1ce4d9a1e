# Rethinking Online Knowledge Distillation with Multi-Exits, supplement, Fig. 1: exits of WRN-16-4.
_base_ = './wrn_16_4_cifar100.py'

model = dict(student=dict(model=dict(backbone=dict(depth=28))))

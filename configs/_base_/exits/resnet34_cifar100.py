# Rethinking Online Knowledge Distillation with Multi-Exits, supplement, Fig. 1: exits of ResNet-18.
_base_ = './resnet18_cifar100.py'

model = dict(student=dict(model=dict(backbone=dict(depth=34))))

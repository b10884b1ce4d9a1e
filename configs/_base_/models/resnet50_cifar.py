_base_ = 'mmpretrain::_base_/models/resnet50_cifar.py'

# BEED's networks, exits included, start with all norms at one.
model = dict(backbone=dict(zero_init_residual=False), head=dict(num_classes=100))

_base_ = 'mmpretrain::_base_/models/resnet18_cifar.py'

# BEED's networks, exits included, start with all norms at one and torch's own linear layer.
model = dict(backbone=dict(zero_init_residual=False), head=dict(num_classes=100, init_cfg=None))

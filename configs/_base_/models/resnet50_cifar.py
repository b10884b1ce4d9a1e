_base_ = 'mmpretrain::_base_/models/resnet50_cifar.py'

# The CRD benchmark's starts with all norms at one and torch's own linear layer.
model = dict(backbone=dict(zero_init_residual=False), head=dict(num_classes=100, init_cfg=None))

_base_ = 'mmpretrain::_base_/models/resnet18.py'

# As torchvision's, which the papers train: all norms start at one, the linear layer is torch's own.
model = dict(backbone=dict(zero_init_residual=False), head=dict(init_cfg=None))

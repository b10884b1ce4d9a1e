_base_ = 'mmpretrain::_base_/models/resnet18_cifar.py'

model = dict(head=dict(num_classes=100))

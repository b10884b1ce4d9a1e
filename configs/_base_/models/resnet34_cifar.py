_base_ = 'mmpretrain::_base_/models/resnet34_cifar.py'

model = dict(head=dict(num_classes=100))

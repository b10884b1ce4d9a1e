_base_ = ['../_base_/models/resnet44_cifar.py', '../_base_/schedules/cifar10_ecd_200e.py']

model = dict(head=dict(num_classes=10))

_base_ = ['../_base_/models/resnet14_cifar.py', '../_base_/schedules/cifar10_16px_1e.py']

model = dict(head=dict(num_classes=10))

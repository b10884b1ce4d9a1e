_base_ = ['../_base_/models/resnet56_cifar.py', '../_base_/schedules/cifar100_ecd_200e.py']

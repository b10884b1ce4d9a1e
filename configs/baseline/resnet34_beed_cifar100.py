_base_ = ['../_base_/models/resnet34_cifar.py', '../_base_/schedules/cifar100_beed_200e.py']

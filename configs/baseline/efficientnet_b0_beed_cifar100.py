_base_ = ['../_base_/models/efficientnet_b0_cifar.py', '../_base_/schedules/cifar100_beed_200e.py']

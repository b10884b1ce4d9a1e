_base_ = ['../_base_/models/wrn_28_4_cifar.py', '../_base_/schedules/cifar100_beed_200e.py']

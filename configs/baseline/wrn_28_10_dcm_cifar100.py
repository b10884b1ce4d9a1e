_base_ = ['../_base_/models/wrn_28_10_cifar.py', '../_base_/schedules/cifar100_dcm_wrn_200e.py']

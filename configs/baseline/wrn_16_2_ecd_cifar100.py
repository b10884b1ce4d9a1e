_base_ = ['../_base_/models/wrn_16_2_cifar.py', '../_base_/schedules/cifar100_ecd_wrn_200e.py']

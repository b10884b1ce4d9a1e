_base_ = ['../_base_/models/wrn_40_1_cifar.py', '../_base_/schedules/cifar100_crd_240e.py']

_base_ = ['../_base_/models/wrn_16_2_cifar.py', '../_base_/schedules/cifar100_crd_240e.py']

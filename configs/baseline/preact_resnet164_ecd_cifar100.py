_base_ = ['../_base_/models/preact_resnet164_cifar.py', '../_base_/schedules/cifar100_ecd_200e.py']

_base_ = ['../_base_/models/mobilenet_v1_cifar.py', '../_base_/schedules/cifar100_dcm_200e.py']

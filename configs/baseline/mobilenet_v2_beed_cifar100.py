_base_ = ['../_base_/models/mobilenet_v2_cifar.py', '../_base_/schedules/cifar100_beed_200e.py']

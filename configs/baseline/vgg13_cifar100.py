_base_ = ['../_base_/models/vgg13_cifar.py', '../_base_/schedules/cifar100_crd_240e.py']

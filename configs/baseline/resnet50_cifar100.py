_base_ = ['../_base_/models/resnet50_cifar.py', '../_base_/schedules/cifar100_crd_240e.py']

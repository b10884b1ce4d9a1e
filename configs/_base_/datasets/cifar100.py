# Pad 4, random crop, flip; mean and std of CIFAR-100. Batch size is each schedule's.
_base_ = 'mmpretrain::_base_/datasets/cifar100_bs16.py'

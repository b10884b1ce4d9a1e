# Pad 4, random crop, flip; mean and std of CIFAR-10. The training batch size is each schedule's.
_base_ = 'mmpretrain::_base_/datasets/cifar10_bs16.py'

val_dataloader = dict(batch_size=256)
test_dataloader = dict(batch_size=256)

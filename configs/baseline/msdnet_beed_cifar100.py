_base_ = ['../_base_/models/msdnet_cifar.py', '../_base_/schedules/cifar100_beed_200e.py']

# The last exit alone.
model = dict(backbone=dict(out_indices=(3,)))

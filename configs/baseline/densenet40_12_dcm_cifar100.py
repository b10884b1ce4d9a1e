_base_ = [
    '../_base_/models/densenet40_12_cifar.py',
    '../_base_/schedules/cifar100_dcm_densenet_300e.py',
]

_base_ = '../_base_/exits/resnet18_cifar100.py'

model = dict(student=dict(exit_type='mmkd.BYOTExit'), objective=dict(type='mmkd.BYOTLoss'))

_base_ = ['../_base_/models/shufflenet_v1_cifar.py', '../_base_/schedules/cifar100_crd_240e.py']

optim_wrapper = dict(optimizer=dict(lr=0.01))

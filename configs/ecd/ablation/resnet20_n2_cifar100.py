# Table 13, n = 2.
_base_ = '../resnet20_cifar100.py'

model = dict(teacher_generator=dict(num_kernels=2))

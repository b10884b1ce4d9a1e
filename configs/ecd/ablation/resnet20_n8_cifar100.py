# Table 13, n = 8.
_base_ = '../resnet20_cifar100.py'

model = dict(teacher_generator=dict(num_kernels=8))

# Table 13, n = 4.
_base_ = '../resnet20_cifar100.py'

model = dict(teacher_generator=dict(num_kernels=4))

# ECD (dens), A.3: every point of the teacher also receives all earlier points of the student.
_base_ = 'resnet20_cifar100.py'

model = dict(connections=dict(dense=True))

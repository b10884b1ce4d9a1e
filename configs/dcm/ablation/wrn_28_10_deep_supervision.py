# Two independent networks, auxiliary classifiers learn from labels.
_base_ = '../wrn_28_10_wrn_28_10_cifar100.py'

model = dict(objective=dict(beta=0.0, gamma=0.0))

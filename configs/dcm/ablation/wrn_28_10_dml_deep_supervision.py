# DML of the networks' own classifiers, auxiliary classifiers learn from labels.
_base_ = '../wrn_28_10_wrn_28_10_cifar100.py'

model = dict(objective=dict(stages=[(-1, -1)]))

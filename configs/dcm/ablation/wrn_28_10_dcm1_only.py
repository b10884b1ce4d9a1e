# Same-stage terms only.
_base_ = '../wrn_28_10_wrn_28_10_cifar100.py'

model = dict(objective=dict(gamma=0.0))

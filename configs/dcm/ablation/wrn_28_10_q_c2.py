# Q without C3.
_base_ = '../wrn_28_10_wrn_28_10_cifar100.py'

model = dict(networks=[dict(net, exits=net.exits[1:]) for net in _base_.model.networks])

# Table 4, connections in Conv3_x alone.
_base_ = '../resnet20_cifar100.py'

model = dict(connections=dict(points=['backbone.layer2.*.conv?', 'backbone.layer2.*']))

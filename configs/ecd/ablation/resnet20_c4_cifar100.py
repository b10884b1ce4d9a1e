# Table 4, connections in Conv4_x alone.
_base_ = '../resnet20_cifar100.py'

model = dict(connections=dict(points=['backbone.layer3.*.conv?', 'backbone.layer3.*']))

# Table 4, connections in Conv2_x alone.
_base_ = '../resnet20_cifar100.py'

model = dict(connections=dict(points=['backbone.layer1.*.conv?', 'backbone.layer1.*']))

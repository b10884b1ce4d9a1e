# Table 4, connections in Conv2_x to Conv4_x.
_base_ = '../resnet20_cifar100.py'

model = dict(connections=dict(points=['backbone.layer[123].*.conv?', 'backbone.layer[123].*']))

# Table 5, a feature loss after each stage in place of connections.
_base_ = '../resnet20_cifar100.py'

stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
model = dict(
    connections=None,
    losses=dict(
        feature=dict(
            type='HintLoss', student=stages, teacher=stages, regressor=None, loss_weight=1e-2
        )
    ),
)

# Table 5, a feature loss after each block of Conv2_x and Conv3_x in place of connections.
_base_ = '../resnet20_cifar100.py'

blocks = [f'backbone.layer{stage}.{block}' for stage in (1, 2) for block in range(3)]
model = dict(
    connections=None,
    losses=dict(
        feature=dict(
            type='HintLoss', student=blocks, teacher=blocks, regressor=None, loss_weight=1e-4
        )
    ),
)

# WRN-28-10(+) of Dense Cross-Layer Mutual-Distillation, Table 1, with the dropout of the WRN paper.
_base_ = './wrn_28_10_wrn_28_10_cifar100.py'

model = dict(
    networks=[
        dict(net, model=dict(net.model, backbone=dict(net.model.backbone, dropout=0.3)))
        for net in _base_.model.networks
    ]
)

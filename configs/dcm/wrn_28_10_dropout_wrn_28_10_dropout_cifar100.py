# WRN-28-10(+) of Table 1, with the dropout of the WRN paper, also in the auxiliary classifiers.
_base_ = './wrn_28_10_wrn_28_10_cifar100.py'

model = dict(
    networks=[
        dict(
            net,
            model=dict(net.model, backbone=dict(net.model.backbone, dropout=0.3)),
            exits=[dict(aux, dropout=0.3) for aux in net.exits],
        )
        for net in _base_.model.networks
    ]
)

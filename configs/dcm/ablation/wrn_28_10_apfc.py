# Average pooling and a linear classifier as auxiliary classifiers, supplement 2.2.
_base_ = '../wrn_28_10_wrn_28_10_cifar100.py'

model = dict(
    networks=[
        dict(
            net,
            exits=[
                dict(tap='backbone.layer1', type='mmkd.APFCExit', in_channels=160),
                dict(tap='backbone.layer2', type='mmkd.APFCExit', in_channels=320),
            ],
        )
        for net in _base_.model.networks
    ]
)

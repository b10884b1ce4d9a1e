# Supplement 1.1 of Dense Cross-Layer Mutual-Distillation: different networks are both trained as
# WRN-28-10 is.
_base_ = ['../_base_/models/wrn_28_10_cifar.py', '../_base_/schedules/cifar100_dcm_wrn_200e.py']

model = dict(
    _delete_=True,
    type='mmkd.MutualDistiller',
    networks=[
        dict(model=_base_.model, input_shape=(3, 32, 32)),
        dict(
            model=dict(
                _base_.model,
                backbone=dict(type='mmkd.CIFARResNet', depth=110),
                head=dict(_base_.model.head, in_channels=64),
            ),
            input_shape=(3, 32, 32),
        ),
    ],
    objective=dict(type='mmkd.DCMLoss'),
)
val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy')]
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best=['accuracy/net1_top1', 'accuracy/net2_top1']))

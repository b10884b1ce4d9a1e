# Explicit Connection Distillation, Table 2, at its setting.
_base_ = ['../_base_/models/resnet20_cifar.py', '../_base_/schedules/cifar100_ecd_200e.py']

model = dict(
    _delete_=True,
    type='mmkd.MutualDistiller',
    networks=[
        dict(model=_base_.model, input_shape=(3, 32, 32)),
        dict(model=_base_.model, input_shape=(3, 32, 32)),
    ],
    objective=dict(type='mmkd.DCMLoss'),
)
val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy')]
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best=['accuracy/net1_top1', 'accuracy/net2_top1']))

_base_ = ['../_base_/models/resnet18.py', '../_base_/schedules/imagenet_100e.py']

model = dict(
    _delete_=True,
    type='mmkd.MutualDistiller',
    networks=[dict(model=_base_.model), dict(model=_base_.model)],
    objective=dict(type='mmkd.DCMLoss'),
)
val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy', topk=(1, 5))]
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best=['accuracy/net1_top1', 'accuracy/net2_top1']))

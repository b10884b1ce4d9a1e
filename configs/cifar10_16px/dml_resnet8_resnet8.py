_base_ = './resnet8.py'

model = dict(
    _delete_=True,
    type='mmkd.MutualDistiller',
    networks=[dict(model=_base_.model), dict(model=_base_.model)],
    objective=dict(type='mmkd.DCMLoss'),
)
val_evaluator = [dict(type='Accuracy'), dict(type='mmkd.OutputAccuracy')]
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best=['accuracy/net1_top1', 'accuracy/net2_top1']))

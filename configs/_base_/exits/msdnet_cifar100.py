# Rethinking Online Knowledge Distillation with Multi-Exits, supplement, A.1: four classifiers,
# the last of them the main one.
_base_ = ['../models/msdnet_cifar.py', '../schedules/cifar100_beed_200e.py']

model = dict(
    _delete_=True,
    type='mmkd.MultiExitDistiller',
    student=dict(
        type='mmkd.MultiExitClassifier',
        model=_base_.model,
        exits=[
            dict(tap=f'backbone.exit{index}', type='mmkd.LinearExit', in_channels=128)
            for index in (1, 2, 3)
        ],
    ),
)

val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy')]
test_evaluator = [_base_.test_evaluator, dict(type='mmkd.OutputAccuracy')]

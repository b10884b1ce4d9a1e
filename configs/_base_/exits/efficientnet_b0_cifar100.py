# Rethinking Online Knowledge Distillation with Multi-Exits, supplement, Fig. 1.
_base_ = ['../models/efficientnet_b0_cifar.py', '../schedules/cifar100_beed_200e.py']

model = dict(
    _delete_=True,
    type='mmkd.MultiExitDistiller',
    student=dict(
        type='mmkd.MultiExitClassifier',
        model=_base_.model,
        exit_type='mmkd.BottleneckExit',
        exits=[
            dict(tap='backbone.layers.1', in_channels=24, channels=(144, 240, 320)),
            dict(tap='backbone.layers.2', in_channels=40, channels=(240, 320)),
            dict(tap='backbone.layers.3', in_channels=112, channels=(320,)),
        ],
    ),
)

val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy')]
test_evaluator = [_base_.test_evaluator, dict(type='mmkd.OutputAccuracy')]

# Rethinking Online Knowledge Distillation with Multi-Exits, supplement, Fig. 1.
_base_ = ['../models/wrn_16_4_cifar.py', '../schedules/cifar100_beed_200e.py']

model = dict(
    _delete_=True,
    type='mmkd.MultiExitDistiller',
    student=dict(
        type='mmkd.MultiExitClassifier',
        model=_base_.model,
        exit_type='mmkd.BottleneckExit',
        exits=[
            dict(tap='backbone.layer1', in_channels=64, channels=(128, 256)),
            dict(tap='backbone.layer2', in_channels=128, channels=(256,)),
        ],
    ),
)

val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy')]
test_evaluator = [_base_.test_evaluator, dict(type='mmkd.OutputAccuracy')]

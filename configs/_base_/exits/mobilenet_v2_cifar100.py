# Rethinking Online Knowledge Distillation with Multi-Exits, supplement, Fig. 1. The exits have the
# channels of the last block, before the 1x1 convolution that follows it.
_base_ = ['../models/mobilenet_v2_cifar.py', '../schedules/cifar100_beed_200e.py']

model = dict(
    _delete_=True,
    type='mmkd.MultiExitDistiller',
    student=dict(
        type='mmkd.MultiExitClassifier',
        model=_base_.model,
        exit_type='mmkd.BottleneckExit',
        exits=[
            dict(tap='backbone.layer2', in_channels=24, channels=(144, 192, 320)),
            dict(tap='backbone.layer3', in_channels=32, channels=(192, 320)),
            dict(tap='backbone.layer5', in_channels=96, channels=(320,)),
        ],
        feature_tap='backbone.layer7',
    ),
)

val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy')]
test_evaluator = [_base_.test_evaluator, dict(type='mmkd.OutputAccuracy')]

# Rethinking Online Knowledge Distillation with Multi-Exits, supplement, A.1: the exits of Fig. 1.
_base_ = ['../models/resnet18.py', '../schedules/imagenet_beed_90e.py']

model = dict(
    _delete_=True,
    type='mmkd.MultiExitDistiller',
    student=dict(
        type='mmkd.MultiExitClassifier',
        model=_base_.model,
        exit_type='mmkd.BottleneckExit',
        exits=[
            dict(tap='backbone.layer1', in_channels=64, channels=(128, 256, 512)),
            dict(tap='backbone.layer2', in_channels=128, channels=(256, 512)),
            dict(tap='backbone.layer3', in_channels=256, channels=(512,)),
        ],
    ),
)

val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy', topk=(1, 5))]
test_evaluator = [_base_.test_evaluator, dict(type='mmkd.OutputAccuracy', topk=(1, 5))]

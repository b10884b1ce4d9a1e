_base_ = './resnet8.py'

model = dict(
    _delete_=True,
    type='mmkd.MultiExitDistiller',
    student=dict(
        type='mmkd.MultiExitClassifier',
        model=_base_.model,
        exit_type='mmkd.BottleneckExit',
        exits=[
            dict(tap='backbone.layer1', in_channels=16, channels=(32, 64)),
            dict(tap='backbone.layer2', in_channels=32, channels=(64,)),
        ],
    ),
    objective=dict(type='mmkd.ExitCELoss'),
)
val_evaluator = [dict(type='Accuracy'), dict(type='mmkd.OutputAccuracy')]
test_evaluator = val_evaluator

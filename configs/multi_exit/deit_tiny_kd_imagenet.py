# Exits on class tokens, MLP-EE of Multi-Exit Vision Transformer for Dynamic Inference; the setting
# is no paper's.
_base_ = ['../_base_/models/deit_tiny.py', '../_base_/schedules/imagenet_deit_300e.py']

model = dict(
    _delete_=True,
    type='mmkd.MultiExitDistiller',
    student=dict(
        type='mmkd.MultiExitClassifier',
        model=_base_.model,
        exit_type='mmkd.TokenExit',
        exits=[
            dict(tap=f'backbone.layers.{index}', in_channels=192, channels=(192,))
            for index in (2, 5, 8)
        ],
    ),
    objective=dict(type='mmkd.ExitKDLoss'),
)
val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy', topk=(1, 5))]
test_evaluator = val_evaluator

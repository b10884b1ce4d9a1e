# A transformer and a convolutional network; no paper's. Both are trained as DeiT is.
_base_ = ['../_base_/models/deit_tiny.py', '../_base_/schedules/imagenet_deit_300e.py']

model = dict(
    _delete_=True,
    type='mmkd.MutualDistiller',
    networks=[
        dict(model=_base_.model),
        dict(
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='ResNet', depth=18),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(
                    type='LinearClsHead',
                    num_classes=1000,
                    in_channels=512,
                    loss=_base_.model.head.loss,
                ),
            )
        ),
    ],
    objective=dict(type='mmkd.DCMLoss'),
)
val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy', topk=(1, 5))]
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best=['accuracy/net1_top1', 'accuracy/net2_top1']))

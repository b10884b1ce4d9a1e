# Knowledge Distillation by On-the-Fly Native Ensemble, section 4: three branches, 300 epochs, SGD
# 0.1, x0.1 at one half and three quarters.
_base_ = ['../_base_/models/resnet32_cifar.py', '../_base_/schedules/cifar100_beed_200e.py']

model = dict(
    _delete_=True,
    type='mmkd.MultiExitDistiller',
    student=dict(
        type='mmkd.MultiExitClassifier',
        model=_base_.model,
        exits=[
            dict(
                tap='backbone.layer2',
                type='mmkd.BranchExit',
                backbone=_base_.model.backbone,
                stages=('layer3',),
                feat_channels=64,
            )
        ]
        * 2,
    ),
    # The authors' code and script for this network: the KL grows from 0.007 to 1 over 80 epochs.
    objective=dict(
        type='mmkd.ONELoss',
        tap='backbone.layer2',
        schedules=dict(kd=dict(warmup=80, ramp='sigmoid')),
    ),
)

val_evaluator = [_base_.val_evaluator, dict(type='mmkd.OutputAccuracy')]
test_evaluator = [_base_.test_evaluator, dict(type='mmkd.OutputAccuracy')]

optim_wrapper = dict(optimizer=dict(nesterov=True, weight_decay=1e-4))
param_scheduler = dict(milestones=[150, 225])
train_cfg = dict(max_epochs=300)

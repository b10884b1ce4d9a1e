_base_ = ['../_base_/models/resnet20_cifar.py', '../_base_/schedules/cifar100_reviewkd_240e.py']

model = dict(
    _delete_=True,
    type='mmkd.OfflineDistiller',
    student=_base_.model,
    teacher=dict(config='{{ fileDirname }}/../baseline/resnet56_cifar100.py', checkpoint=None),
    losses=dict(
        review=dict(
            type='ReviewKDLoss',
            student=['backbone.layer1', 'backbone.layer2', 'backbone.layer3', 'neck[0]'],
            # Before the last ReLU of each stage.
            teacher=[
                'backbone.layer1.8.relu:input',
                'backbone.layer2.8.relu:input',
                'backbone.layer3.8.relu:input',
                'neck[0]',
            ],
            loss_weight=0.6,
            warmup=20,
        )
    ),
)

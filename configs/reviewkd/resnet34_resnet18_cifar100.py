_base_ = ['../_base_/models/resnet18_cifar.py', '../_base_/schedules/cifar100_reviewkd_240e.py']

model = dict(
    _delete_=True,
    type='mmkd.OfflineDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../baseline/resnet34_cifar100.py',
        checkpoint='work_dirs/resnet34_cifar100/epoch_240.pth',
    ),
    losses=dict(
        review=dict(
            type='ReviewKDLoss',
            student=[
                'backbone.layer1',
                'backbone.layer2',
                'backbone.layer3',
                'backbone.layer4',
                'neck[0]',
            ],
            # Before the last ReLU of each stage.
            teacher=[
                'backbone.layer1.2.relu@-1:input',
                'backbone.layer2.3.relu@-1:input',
                'backbone.layer3.5.relu@-1:input',
                'backbone.layer4.2.relu@-1:input',
                'neck[0]',
            ],
            loss_weight=5.0,
            warmup=20,
        )
    ),
)

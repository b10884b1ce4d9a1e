_base_ = '../_base_/pairs/resnet50_mobilenet_v1_imagenet.py'

model = dict(
    losses=dict(
        at=dict(
            type='AttentionTransferLoss',
            student=_base_.student_stages,
            teacher=_base_.teacher_stages,
            loss_weight=1000.0,
        )
    ),
)

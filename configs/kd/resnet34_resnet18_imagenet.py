_base_ = '../_base_/pairs/resnet34_resnet18_imagenet.py'

model = dict(
    student_loss_weight=0.5,
    losses=dict(
        kd=dict(
            type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=1.0, loss_weight=0.5
        )
    ),
)

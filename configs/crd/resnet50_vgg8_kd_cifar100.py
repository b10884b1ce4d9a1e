_base_ = './resnet50_vgg8_cifar100.py'

model = dict(
    losses=dict(
        kd=dict(
            type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0, loss_weight=1.0
        )
    )
)

_base_ = './wrn_40_2_shufflenet_v1_cifar100.py'

model = dict(
    losses=dict(
        kd=dict(
            type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0, loss_weight=1.0
        )
    )
)

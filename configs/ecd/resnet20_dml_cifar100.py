# Table 8, ECD + DML: each network also learns from the other's predictions.
_base_ = 'resnet20_cifar100.py'

model = dict(
    losses=dict(
        # The mean of the two directions, times 2.
        dml=dict(
            type='KLDivergenceLoss',
            student=['student:head.fc', 'teacher:head.fc'],
            teacher=['teacher:head.fc', 'student:head.fc'],
            tau=1.0,
            loss_weight=2.0,
        )
    )
)

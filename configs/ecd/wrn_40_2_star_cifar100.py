_base_ = 'wrn_40_2_cifar100.py'

model = dict(
    losses=dict(
        ensemble=dict(
            type='LearnableEnsembleLoss',
            student=['student:head.fc', 'teacher:head.fc'],
            teacher=['student:head.fc', 'teacher:head.fc'],
        )
    )
)

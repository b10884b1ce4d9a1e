_base_ = './ecd_resnet8.py'

model = dict(
    losses=dict(
        ensemble=dict(
            type='LearnableEnsembleLoss',
            student=['student:head.fc', 'teacher:head.fc'],
            teacher=['student:head.fc', 'teacher:head.fc'],
        )
    )
)

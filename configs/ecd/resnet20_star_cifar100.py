# ECD*: the learnable ensemble of both logits teaches both networks.
_base_ = 'resnet20_cifar100.py'

model = dict(
    losses=dict(
        ensemble=dict(
            type='LearnableEnsembleLoss',
            student=['student:head.fc', 'teacher:head.fc'],
            teacher=['student:head.fc', 'teacher:head.fc'],
        )
    )
)

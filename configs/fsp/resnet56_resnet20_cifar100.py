_base_ = [
    '../_base_/pairs/resnet56_resnet20_cifar100.py',
    '../_base_/methods/fsp_cifar100.py',
]

model = dict(
    losses=dict(
        fsp=dict(
            _base_.term,
            student=['backbone.relu', *_base_.student_stages],
            teacher=['backbone.relu', *_base_.teacher_stages],
        )
    )
)

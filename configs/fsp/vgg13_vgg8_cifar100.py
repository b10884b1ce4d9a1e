_base_ = [
    '../_base_/pairs/vgg13_vgg8_cifar100.py',
    '../_base_/methods/fsp_cifar100.py',
]

model = dict(
    losses=dict(
        fsp=dict(
            _base_.term,
            student=['backbone.layer1', *_base_.student_stages],
            teacher=['backbone.layer1', *_base_.teacher_stages],
        )
    )
)

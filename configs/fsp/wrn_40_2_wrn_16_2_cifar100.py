_base_ = [
    '../_base_/pairs/wrn_40_2_wrn_16_2_cifar100.py',
    '../_base_/methods/fsp_cifar100.py',
]

model = dict(
    losses=dict(
        fsp=dict(
            _base_.term,
            student=['backbone.stem', *_base_.student_stages],
            teacher=['backbone.stem', *_base_.teacher_stages],
        )
    )
)

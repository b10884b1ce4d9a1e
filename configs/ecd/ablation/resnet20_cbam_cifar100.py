# Table 7, the teacher generated with CBAM.
_base_ = '../resnet20_cifar100.py'

model = dict(
    teacher_generator=dict(_delete_=True, type='CBAMConv2d', convs='backbone.layer?.*.conv?')
)

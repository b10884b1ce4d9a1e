# Table 7, the teacher generated with SE.
_base_ = '../resnet20_cifar100.py'

model = dict(
    teacher_generator=dict(_delete_=True, type='SEConv2d', convs='backbone.layer?.*.conv?')
)

_base_ = './resnet34_resnet18_cifar100.py'

model = dict(
    teacher=dict(
        config='{{ fileDirname }}/../baseline/resnet50_cifar100.py',
        checkpoint='work_dirs/resnet50_cifar100/epoch_240.pth',
    )
)

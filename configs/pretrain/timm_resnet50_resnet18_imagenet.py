# A network of timm teaches a classifier of mmpretrain, as in configs/kd.
_base_ = '../kd/resnet34_resnet18_imagenet.py'

model = dict(
    teacher=dict(
        _delete_=True,
        config=dict(
            type='mmkd.TorchModel',
            factory='timm.create_model',
            arguments=dict(model_name='resnet50.a1_in1k', pretrained=True),
        ),
    ),
    losses=dict(kd=dict(teacher='head')),
)

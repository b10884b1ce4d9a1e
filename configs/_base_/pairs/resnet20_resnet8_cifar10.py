_base_ = '../../cifar10_16px/resnet8.py'

model = dict(
    _delete_=True,
    type='mmkd.OfflineDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../../cifar10_16px/resnet20.py',
        checkpoint='work_dirs/cifar10_16px/resnet20/epoch_8.pth',
    ),
    input_shape=(3, 16, 16),
)

student_stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
teacher_stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
student_preactivations = [
    'backbone.layer1.0.relu@-1:input',
    'backbone.layer2.0.relu@-1:input',
    'backbone.layer3.0.relu@-1:input',
]
teacher_preactivations = [
    'backbone.layer1.2.relu@-1:input',
    'backbone.layer2.2.relu@-1:input',
    'backbone.layer3.2.relu@-1:input',
]

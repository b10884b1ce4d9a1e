_base_ = '../models/wrn_16_2_cifar.py'

model = dict(
    _delete_=True,
    type='mmkd.OfflineDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../../baseline/wrn_40_2_cifar100.py',
        checkpoint='work_dirs/wrn_40_2_cifar100/epoch_240.pth',
    ),
    input_shape=(3, 32, 32),
)

# What the CRD benchmark compares: the ends of the stages, and the values before their last ReLU.
student_stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
teacher_stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
student_preactivations = [
    'backbone.layer2.0.relu1:input',
    'backbone.layer3.0.relu1:input',
    'backbone.tail.relu:input',
]
teacher_preactivations = [
    'backbone.layer2.0.relu1:input',
    'backbone.layer3.0.relu1:input',
    'backbone.tail.relu:input',
]
# Scale and shift of the norm before each of the teacher's, for the margins of OFD.
teacher_norms = [
    'backbone.layer2.0.norm1:weight',
    'backbone.layer3.0.norm1:weight',
    'backbone.tail.norm:weight',
    'backbone.layer2.0.norm1:bias',
    'backbone.layer3.0.norm1:bias',
    'backbone.tail.norm:bias',
]

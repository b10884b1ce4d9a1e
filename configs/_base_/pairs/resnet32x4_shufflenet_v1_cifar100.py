_base_ = '../models/shufflenet_v1_cifar.py'

model = dict(
    _delete_=True,
    type='mmkd.OfflineDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../../baseline/resnet32x4_cifar100.py',
        checkpoint='work_dirs/resnet32x4_cifar100/epoch_240.pth',
    ),
    input_shape=(3, 32, 32),
)

# What the CRD benchmark compares: the ends of the stages, and the values before their last ReLU.
student_stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
teacher_stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
student_preactivations = [
    'backbone.layer1.3.relu:input',
    'backbone.layer2.7.relu:input',
    'backbone.layer3.3.relu:input',
]
teacher_preactivations = [
    'backbone.layer1.4.relu@-1:input',
    'backbone.layer2.4.relu@-1:input',
    'backbone.layer3.4.relu@-1:input',
]
# Scale and shift of the norm before each of the teacher's, for the margins of OFD.
teacher_norms = [
    'backbone.layer1.4.bn2:weight',
    'backbone.layer2.4.bn2:weight',
    'backbone.layer3.4.bn2:weight',
    'backbone.layer1.4.bn2:bias',
    'backbone.layer2.4.bn2:bias',
    'backbone.layer3.4.bn2:bias',
]

_base_ = '../models/vgg8_cifar.py'

model = dict(
    _delete_=True,
    type='mmkd.OfflineDistiller',
    student=_base_.model,
    teacher=dict(
        config='{{ fileDirname }}/../../baseline/resnet50_cifar100.py',
        checkpoint='work_dirs/resnet50_cifar100/epoch_240.pth',
    ),
    input_shape=(3, 32, 32),
)

# What the CRD benchmark compares: the ends of the stages, and the values before their last ReLU.
student_stages = ['backbone.layer2', 'backbone.layer3', 'backbone.layer4', 'backbone.layer5']
teacher_stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3', 'backbone.layer4']
student_preactivations = [
    'backbone.layer2.relu1:input',
    'backbone.layer3.relu1:input',
    'backbone.layer4.relu1:input',
    'backbone.layer5.relu1:input',
]
teacher_preactivations = [
    'backbone.layer1.2.relu@-1:input',
    'backbone.layer2.3.relu@-1:input',
    'backbone.layer3.5.relu@-1:input',
    'backbone.layer4.2.relu@-1:input',
]
# Scale and shift of the norm before each of the teacher's, for the margins of OFD.
teacher_norms = [
    'backbone.layer1.2.bn3:weight',
    'backbone.layer2.3.bn3:weight',
    'backbone.layer3.5.bn3:weight',
    'backbone.layer4.2.bn3:weight',
    'backbone.layer1.2.bn3:bias',
    'backbone.layer2.3.bn3:bias',
    'backbone.layer3.5.bn3:bias',
    'backbone.layer4.2.bn3:bias',
]

# The data is prepared as configs/benchmark/README.md says.
_base_ = './_base_/coco_metrics.py'

title = 'Blood cells (BCCD): one-stage detectors'
prose = """
As in [bccd.md](bccd.md), from scratch with batch 4. Students have a quarter of the channels of
their teacher's backbone and its neck and head; all train for 12 epochs. Box mAP after the last
epoch. None of this says what the methods give on COCO.
"""
notes = """
The class scores of RetinaNet (`QualityFocalKDLoss`) have 4 epochs of warm-up. Without it every
ReLU of the first convolution of the class branch gave zero for all images looked at, and the branch
a constant; the papers start from trained backbones.

LD and PKD are not shown with these three seeds. GFL's teacher has 1.7 points over the student alone
and LD's students 1.0. RTMDet's teacher is below its students alone, whose seeds lie ten points
apart: twelve epochs from scratch are too few for it, and this says little of PKD.
"""

seeds = [0, 1, 2]

# Names of the configs of teachers, and their labels.
_teachers = dict(
    retinanet_r18='RetinaNet R18, a teacher',
    gfl_r18='GFL R18, a teacher',
    rtmdet_teacher='RTMDet, a teacher',
)
teachers = {
    _name: dict(label=_label, config=f'mmkd::bccd/{_name}.py')
    for _name, _label in _teachers.items()
}

# Config of the student alone: label, teacher, and the label and config of each row.
_students = dict(
    retinanet_r18_quarter=(
        'RetinaNet, a quarter of R18',
        'retinanet_r18',
        dict(
            qfl_kd=('class scores', 'retinanet_r18_quarter_kd'),
            cwd=('CWD', 'retinanet_r18_quarter_cwd'),
        ),
    ),
    gfl_r18_quarter=(
        'GFL, a quarter of R18',
        'gfl_r18',
        dict(ld=('LD', 'gfl_r18_quarter_ld')),
    ),
    rtmdet_student=('RTMDet, a quarter', 'rtmdet_teacher', dict(pkd=('PKD', 'rtmdet_pkd'))),
)
rows = {}
for _student, (_label, _teacher, _methods) in _students.items():
    rows[_student] = dict(label=f'{_label}, alone', config=f'mmkd::bccd/{_student}.py')
    for _name, (_method, _config) in _methods.items():
        rows[_name] = dict(
            label=f'{_label}, {_method}',
            config=f'mmkd::bccd/{_config}.py',
            teacher=_teacher,
            control=_student,
        )

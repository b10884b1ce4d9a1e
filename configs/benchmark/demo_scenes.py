# The detectors of `mmkd demo`, which runs these rows with fewer seeds.
_base_ = './_base_/coco_metrics.py'

title = 'The scenes of the demo'
prose = """
PKD on Faster R-CNN, from the teacher's neck and heads on, on scenes made of handwritten digits. The
teacher learned from 400 labelled scenes, the student has a quarter of the backbone's channels and
the labels of the first 80 of them, 24 epochs. Tested on 100 scenes.
"""
notes = """
The student takes the teacher's neck and heads over: without them PKD gained less than half of this,
and nothing with one of these seeds. AdamW and half the batch did not change that.
"""
seeds = list(range(8))
teachers = dict(
    scenes_teacher=dict(label='Teacher', config='mmkd::demo/scenes_teacher.py', seconds=160)
)
rows = dict(
    scenes_student=dict(label='Student alone', config='mmkd::demo/scenes_student.py', seconds=55),
    scenes_pkd=dict(
        label='PKD',
        config='mmkd::demo/scenes_pkd.py',
        teacher='scenes_teacher',
        control='scenes_student',
        seconds=70,
    ),
)

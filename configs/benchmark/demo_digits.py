# The classifiers of `mmkd demo`, which runs these rows with fewer seeds.
title = 'The digits of the demo'
prose = """
KD from a ResNet-18 with a quarter of the channels to a student of 2,942 parameters, on
scikit-learn's handwritten digits: 1,195 images to train on and 602 to test on, 30 epochs.
"""
notes = """
The rate has a warm-up in all three configs: without it KD gained nothing with one of these seeds.
"""
metrics = [dict(key='accuracy/top1', label='top-1 (%)')]
seeds = list(range(8))
teachers = dict(
    digits_teacher=dict(label='Teacher', config='mmkd::demo/digits_teacher.py', seconds=60)
)
rows = dict(
    digits_student=dict(label='Student alone', config='mmkd::demo/digits_student.py', seconds=30),
    digits_kd=dict(
        label='KD',
        config='mmkd::demo/digits_kd.py',
        teacher='digits_teacher',
        control='digits_student',
        seconds=40,
    ),
)

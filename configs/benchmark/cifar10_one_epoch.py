# The shortest comparison of methods: one epoch of all images. The data is prepared as
# configs/benchmark/README.md says.
title = 'CIFAR-10 at 16 pixels: one epoch'
prose = """
ResNet-8 sees all 50,000 images once; its teacher, ResNet-20, saw them 8 times. So short, a hint
that shows a network what to compute at once is worth more than in a whole training: the numbers say
what the code does under equal conditions, not what the methods give. Top-1 on the 10,000 test
images.
"""
notes = """
FitNet's hint is most of its loss, and in one epoch the faster teacher. FSP and FT have pre-training
of an eighth of the run, and FSP only gives a starting point. For others one epoch is too short to
say anything: CRD contrasts with memory banks whose rows are random until their sample has been
seen, and VID's variances hardly move from their start. All methods are in
[cifar10_offline.md](cifar10_offline.md).
"""

metrics = [dict(key='accuracy/top1', label='top-1 (%)')]
seeds = [0, 1, 2]
teachers = dict(
    resnet20=dict(label='ResNet-20, the teacher', config='mmkd::cifar10_16px/resnet20.py'),
)
# Those whose form has been corrected since they were first measured, and KD beside them.
_methods = dict(kd='KD', fitnet='FitNet', fsp='FSP', ft='FT', ofd='OFD')
rows = dict(alone=dict(label='ResNet-8 alone', config='mmkd::cifar10_16px/resnet8.py'))
for _name, _label in _methods.items():
    rows[_name] = dict(
        label=_label,
        config=f'mmkd::cifar10_16px/resnet20_resnet8_{_name}.py',
        teacher='resnet20',
        control='alone',
    )

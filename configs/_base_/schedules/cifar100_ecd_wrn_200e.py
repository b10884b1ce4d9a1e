# Explicit Connection Distillation, A.1.1, WRNs: x0.1 at 60, 120 and 160.
_base_ = './cifar100_ecd_200e.py'

param_scheduler = [
    dict(_base_.param_scheduler[0], milestones=[60, 120, 160]),
    _base_.param_scheduler[1],
]

# Rethinking Online Knowledge Distillation with Multi-Exits, supplement, Table 1: exits as in LCT.
_base_ = './resnet18_cifar100.py'

model = dict(student=dict(exits=[dict(e, type='mmkd.LCTExit') for e in _base_.model.student.exits]))

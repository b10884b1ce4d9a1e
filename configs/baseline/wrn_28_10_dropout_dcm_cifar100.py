# WRN-28-10(+) of Dense Cross-Layer Mutual-Distillation, Table 1, with the dropout of the WRN paper.
_base_ = './wrn_28_10_dcm_cifar100.py'

model = dict(backbone=dict(dropout=0.3))

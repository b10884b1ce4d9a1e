# Exits as in BYOT's ResNet-18: one block to the last map's channels and size.
_base_ = './exits_ce_resnet8.py'

model = dict(student=dict(exit_type='mmkd.BYOTExit'), objective=dict(type='mmkd.BYOTLoss'))

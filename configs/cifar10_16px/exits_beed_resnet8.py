_base_ = './exits_ce_resnet8.py'

model = dict(objective=dict(type='mmkd.BEEDLoss'))

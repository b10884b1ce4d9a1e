_base_ = '../_base_/exits/resnet18_imagenet.py'

model = dict(objective=dict(type='mmkd.ExitCELoss'))

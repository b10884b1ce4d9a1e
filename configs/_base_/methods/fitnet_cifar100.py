_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='HintLoss', regressor='conv_bn_relu', loss_weight=100.0)

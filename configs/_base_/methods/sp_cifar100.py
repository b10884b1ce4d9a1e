_base_ = '../schedules/cifar100_crd_240e.py'

term = dict(type='SimilarityPreservingLoss', loss_weight=3000.0)

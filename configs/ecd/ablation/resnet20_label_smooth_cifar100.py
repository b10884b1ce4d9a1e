# Table 12, ECD with label smoothing of 0.1 in both networks.
_base_ = '../resnet20_cifar100.py'

model = dict(
    student=dict(head=dict(loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1)))
)

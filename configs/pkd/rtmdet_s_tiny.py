_base_ = '../_base_/pairs/rtmdet_s_tiny.py'

# An example: no paper has this pair. The last 20 epochs, of weak augmentation, are the student's
# own, as in the distillation configs of MMYOLO.
model = dict(
    losses=dict(pkd=dict(type='PKDLoss', student='neck', teacher='neck', loss_weight=10.0, end=280))
)

# ReviewKD supplement, section 1, and the authors' code: weight 0.01, from the 400th step on.
term = dict(
    type='FGFILoss', student='neck', teacher='neck', loss_weight=0.01, begin=400, by_epoch=False
)

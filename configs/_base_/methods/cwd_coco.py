# MMRazor's weight on the levels of an FPN.
term = dict(type='CWDLoss', student='neck', teacher='neck', tau=1.0, loss_weight=10.0)

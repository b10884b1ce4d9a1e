# The authors' configs of RetinaNet and RepPoints.
term = dict(type='MGDLoss', student='neck', teacher='neck', alpha_mgd=2e-5, lambda_mgd=0.65)

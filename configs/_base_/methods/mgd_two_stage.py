# The authors' configs of Faster R-CNN and Mask R-CNN.
levels = ['neck[0]', 'neck[1]', 'neck[2]', 'neck[3]']
term = dict(type='MGDLoss', student=levels, teacher=levels, alpha_mgd=5e-7, lambda_mgd=0.45)

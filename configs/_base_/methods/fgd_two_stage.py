# The authors' configs of Faster R-CNN and Mask R-CNN.
levels = ['neck[0]', 'neck[1]', 'neck[2]', 'neck[3]']
term = dict(
    type='FGDLoss',
    student=levels,
    teacher=levels,
    temp=0.5,
    alpha_fgd=5e-5,
    beta_fgd=2.5e-5,
    gamma_fgd=5e-5,
    lambda_fgd=5e-7,
)

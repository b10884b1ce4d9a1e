# The authors' configs of RetinaNet and GFL.
term = dict(
    type='FGDLoss',
    student='neck',
    teacher='neck',
    temp=0.5,
    alpha_fgd=1e-3,
    beta_fgd=5e-4,
    gamma_fgd=5e-4,
    lambda_fgd=5e-6,
)

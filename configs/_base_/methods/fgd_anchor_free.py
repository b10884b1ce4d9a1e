# The authors' configs of RepPoints and, with another temp, FCOS.
term = dict(
    type='FGDLoss',
    student='neck',
    teacher='neck',
    temp=0.5,
    alpha_fgd=1.6e-3,
    beta_fgd=8e-4,
    gamma_fgd=8e-4,
    lambda_fgd=8e-6,
)

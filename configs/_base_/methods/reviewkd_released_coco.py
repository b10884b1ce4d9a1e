# What the authors' released detection configs have and the supplement does not say: six image
# scales, all norms of the backbone frozen, and no weight decay of norms (Detectron2's default),
# which leaves those of the fusion.
term = dict(type='ReviewKDLoss', student='neck', teacher='neck')
resize = dict(
    type='RandomChoiceResize',
    scales=[(1333, 640), (1333, 672), (1333, 704), (1333, 736), (1333, 768), (1333, 800)],
    keep_ratio=True,
)
frozen_norm = dict(type='BN', requires_grad=False)
paramwise = dict(norm_decay_mult=0.0)

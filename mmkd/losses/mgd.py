"""Masked generative distillation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, check_same_shape, paired
from .utils import align_channels, squared_error


@MODELS.register_module()
class MGDLoss(DistillLoss):
    r"""Squared error of the teacher's map generated from the student's with positions masked out.

    .. math:: L = \alpha \sum_l \frac{1}{N} \bigl\lVert
              \mathcal{G}_l\bigl(r_l(f_s^l) \odot M^l\bigr) - f_t^l \bigr\rVert_2^2, \qquad
              M_{nij}^l = [u_{nij}^l \ge \lambda], \quad u \sim U(0, 1)

    with G two 3x3 convolutions with a ReLU between, and r a 1x1 convolution where the numbers of
    channels differ. A mask covers all channels and is drawn anew in every step. *Masked Generative
    Distillation*, Yang et al., ECCV 2022, section 3. The authors' configs have alpha 2e-5 and
    lambda 0.65 for one-stage, and alpha 5e-7 and lambda 0.45 for two-stage detectors.

    Shapes: (N, C_s, H, W) and (N, C_t, H, W); with several taps the losses add up.

    Args:
        alpha_mgd (float): Weight of the paper. Defaults to 2e-5.
        lambda_mgd (float): Expected fraction of masked positions. Defaults to 0.65.
        loss_weight (float): Factor on top of ``alpha_mgd``. Defaults to 1.0.

    Raises:
        ValueError: If ``lambda_mgd`` is no fraction or maps differ in size.

    Example:
        >>> levels = ['neck[0]', 'neck[1]', 'neck[2]', 'neck[3]']
        >>> mgd=dict(type='MGDLoss', student=levels, teacher=levels,
        ...          alpha_mgd=5e-7, lambda_mgd=0.45)
    """

    def __init__(
        self,
        alpha_mgd: float = 2e-5,
        lambda_mgd: float = 0.65,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if not 0 <= lambda_mgd < 1:
            raise ValueError(f'MGDLoss: lambda_mgd must be in [0, 1), found {lambda_mgd}')
        self.alpha_mgd = alpha_mgd
        self.lambda_mgd = lambda_mgd

    def build(self, student: Tapped, teacher: Tapped) -> None:
        self.aligns = align_channels('MGDLoss', student, teacher)
        channels = [t.shape[1] for _, t in paired(student, teacher)]
        self.generations = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c, c, kernel_size=3, padding=1),
                nn.ReLU(),
                nn.Conv2d(c, c, kernel_size=3, padding=1),
            )
            for c in channels
        )

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        loss = 0.0
        levels = zip(self.aligns, self.generations, paired(student, teacher), strict=True)
        for align, generation, (s, t) in levels:
            # Not rand_like: half precision would round the fraction.
            kept = torch.rand(len(s), 1, *s.shape[2:], device=s.device) >= self.lambda_mgd
            generated = generation(align(s) * kept)
            check_same_shape(generated, t, 'tap levels of the same stride')
            loss = loss + squared_error(generated, t)
        return self.loss_weight * self.alpha_mgd * loss

"""Variational information distillation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, check_same_shape, fp32, paired
from .utils import check_maps, pool_to_smaller

_INITIAL_VARIANCE = 5.0
_MINIMAL_VARIANCE = 1e-5


@fp32
def negative_log_likelihood(mean: Tensor, target: Tensor, raw_variance: Tensor) -> Tensor:
    """Mean of ``0.5 * ((mean - target)^2 / v + log v)`` over all entries, in float32.

    Args:
        mean (Tensor): Predicted map, (N, C, H, W).
        target (Tensor): Map, (N, C, H, W).
        raw_variance (Tensor): Variances v before the softplus, (C,).

    Returns:
        Tensor: Scalar.
    """
    variance = F.softplus(raw_variance) + _MINIMAL_VARIANCE
    error = (mean - target).square().mean(dim=(0, 2, 3))
    return 0.5 * (error / variance + variance.log()).mean()


@MODELS.register_module()
class VIDLoss(DistillLoss):
    r"""Negative log-likelihood of the teacher's map under a Gaussian given the student's.

    .. math:: L = \sum_l \operatorname{mean}\Bigl(\tfrac12 \Bigl(
              \frac{(\mu(f_s^l) - f_t^l)^2}{v} + \log v\Bigr)\Bigr), \qquad
              v = \mathrm{softplus}(a_c) + 10^{-5}

    with mu three 1x1 convolutions without bias, of the teacher's channels, and ReLUs between, and
    one learnt variance per channel that starts at 5. *Variational Information Distillation for
    Knowledge Transfer*, Ahn et al., CVPR 2019, section 2. Weight in use: 1 (benchmark of
    Contrastive Representation Distillation; Explicit Connection Distillation, Table 11, which also
    has no batch norm in mu). The loss has no lower bound at zero.

    Shapes: (N, C_s, H_s, W_s) and (N, C_t, H_t, W_t); the larger map is average-pooled to the size
    of the smaller. With several taps the losses add up.

    Args:
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
        >>> vid=dict(type='VIDLoss', student=stages, teacher=stages)
    """

    def __init__(self, loss_weight: float = 1.0, init_cfg: dict | None = None) -> None:
        super().__init__(loss_weight, init_cfg)
        self.means = nn.ModuleList()
        self.raw_variances = nn.ParameterList()

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_maps('VIDLoss', student, teacher)
        for s, t in paired(student, teacher):
            channels = t.shape[1]
            self.means.append(
                nn.Sequential(
                    nn.Conv2d(s.shape[1], channels, kernel_size=1, bias=False),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(channels, channels, kernel_size=1, bias=False),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(channels, channels, kernel_size=1, bias=False),
                )
            )
            inverse_softplus = math.log(math.expm1(_INITIAL_VARIANCE - _MINIMAL_VARIANCE))
            self.raw_variances.append(torch.full((channels,), inverse_softplus))

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        loss = 0.0
        levels = zip(self.means, self.raw_variances, paired(student, teacher), strict=True)
        for mean, raw_variance, (s, t) in levels:
            s, t = pool_to_smaller(s, t)
            predicted = mean(s)
            check_same_shape(predicted, t, 'the teacher has changed since the loss was built')
            loss = loss + negative_log_likelihood(predicted, t, raw_variance)
        return self.loss_weight * loss

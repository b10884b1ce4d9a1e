"""Neuron selectivity transfer."""

from __future__ import annotations

from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, fp32, paired
from .utils import check_maps, check_positions, pool_to_smaller

#: Least squared length of a channel, so that one of zeros stays one.
_EPS = 1e-24


@fp32
def maximum_mean_discrepancy(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared MMD between the normalised channels of two maps, mean over samples, in float32."""
    s, t = (x.flatten(2) for x in pool_to_smaller(student, teacher))
    # Products of channels, which hold their lengths too: the maps need not be divided by them.
    ss, st, tt = s @ s.mT, s @ t.mT, t @ t.mT
    scale_s, scale_t = (
        x.diagonal(dim1=1, dim2=2).clamp(min=_EPS).rsqrt().unsqueeze(2) for x in (ss, tt)
    )

    def kernel(products: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Mean of the polynomial kernel ``(x . y)^2`` over all pairs of channels."""
        return (products * first * second.mT).square().mean()

    return (
        kernel(tt, scale_t, scale_t)
        + kernel(ss, scale_s, scale_s)
        - 2 * kernel(st, scale_s, scale_t)
    )


@MODELS.register_module()
class NSTLoss(DistillLoss):
    r"""Maximum mean discrepancy between the channels of student and teacher.

    .. math:: L = \sum_l \frac{1}{C_t^2} \sum_{ij} k(t_i, t_j)
              + \frac{1}{C_s^2} \sum_{ij} k(s_i, s_j) - \frac{2}{C_s C_t} \sum_{ij} k(s_i, t_j),
              \qquad k(x, y) = (x^\top y)^2

    averaged over the batch, with s and t the flattened channels of a map, each of unit length.
    *Like What You Like: Knowledge Distill via Neuron Selectivity Transfer*, Huang and Wang, 2017,
    with the polynomial kernel d = 2, c = 0. Weights in use: 50 (benchmark of Contrastive
    Representation Distillation), 10 (Explicit Connection Distillation, Table 11).

    Shapes: (N, C_s, H_s, W_s) and (N, C_t, H_t, W_t); the larger map is average-pooled to the size
    of the smaller. With several taps the losses add up.

    Args:
        loss_weight (float): Defaults to 1.0.

    Raises:
        ValueError: If the sides are not maps, or all maps are of one position.

    Example:
        >>> stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
        >>> nst=dict(type='NSTLoss', student=stages, teacher=stages, loss_weight=50.0)
    """

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_maps('NSTLoss', student, teacher)
        check_positions('NSTLoss', student, teacher)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        check_positions('NSTLoss', student, teacher)
        pairs = paired(student, teacher)
        return self.loss_weight * sum(maximum_mean_discrepancy(s, t) for s, t in pairs)

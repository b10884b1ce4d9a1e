"""Attention transfer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, fp32, paired
from .utils import check_maps, check_positions, pool_to_smaller


@fp32
def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two normalised attention maps, in float32."""
    student, teacher = (
        F.normalize(x.square().mean(dim=1).flatten(1), dim=1)
        for x in pool_to_smaller(student, teacher)
    )
    return F.mse_loss(student, teacher)


@MODELS.register_module()
class AttentionTransferLoss(DistillLoss):
    r"""Squared difference of spatial attention maps.

    .. math:: L = \sum_l \frac{1}{N H_l W_l} \lVert A(f_s^l) - A(f_t^l) \rVert_2^2, \qquad
              A(f) = \frac{a}{\lVert a \rVert_2}, \quad a_{hw} = \frac{1}{C} \sum_c f_{chw}^2

    *Paying More Attention to Attention*, Zagoruyko and Komodakis, ICLR 2017, section 3.1, with
    p = 2, in the form of the benchmark of Contrastive Representation Distillation (CRD), which
    averages over positions. Weight in use: 1000 (that benchmark; Explicit Connection Distillation,
    Table 11).

    Shapes: (N, C_s, H_s, W_s) and (N, C_t, H_t, W_t); the larger map is average-pooled to the size
    of the smaller. With several taps the losses add up.

    Args:
        loss_weight (float): Defaults to 1.0.

    Raises:
        ValueError: If the sides are not maps, or all maps are of one position.

    Example:
        >>> stages = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
        >>> at=dict(type='AttentionTransferLoss', student=stages, teacher=stages,
        ...         loss_weight=1000.0)
    """

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_maps('AttentionTransferLoss', student, teacher)
        check_positions('AttentionTransferLoss', student, teacher)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        check_positions('AttentionTransferLoss', student, teacher)
        return self.loss_weight * sum(attention_distance(s, t) for s, t in paired(student, teacher))

"""FitNets: hints from intermediate layers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, check_same_shape, fp32, paired
from .utils import match_maps


@fp32
def mean_squared_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of ``(student - teacher)^2`` over all entries, in float32."""
    return F.mse_loss(student, teacher)


@MODELS.register_module()
class HintLoss(DistillLoss):
    r"""Mean squared error between the regressed student feature and the teacher's.

    .. math:: L = \frac{1}{|f_t|} \lVert r(f_s) - f_t \rVert_2^2

    with r a convolution (:func:`~mmkd.losses.utils.match_maps`), 1x1 between maps of equal size,
    or the identity where the shapes agree. *FitNets: Hints
    for Thin Deep Nets*, Romero et al., 2015, in its one-stage form. Weights in use: 100 (benchmark
    of Contrastive Representation Distillation), 0.1 (Explicit Connection Distillation, Table 11,
    and the supplement of ReviewKD for detectors).

    Shapes: (N, C_s, H_s, W_s) and (N, C_t, H_t, W_t), of equal size, or one twice as large as the
    other; with several taps the losses add up.

    Args:
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> hint=dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2',
        ...           loss_weight=0.1)
    """

    def build(self, student: Tapped, teacher: Tapped) -> None:
        self.regressors = match_maps('HintLoss', student, teacher, keep_equal=True)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        loss = 0.0
        for regressor, (s, t) in zip(self.regressors, paired(student, teacher), strict=True):
            regressed = regressor(s)
            check_same_shape(regressed, t, 'give images whose size both strides divide')
            loss = loss + mean_squared_error(regressed, t)
        return self.loss_weight * loss

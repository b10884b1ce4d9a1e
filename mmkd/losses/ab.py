"""Distillation of activation boundaries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, check_same_shape, fp32, paired
from .utils import match_maps


@fp32
def boundary_distance(student: Tensor, teacher: Tensor, margin: float) -> Tensor:
    """Squared hinge of a level, summed over an image, mean over images, in float32.

    Args:
        student (Tensor): Pre-activations, (N, C, H, W).
        teacher (Tensor): Pre-activations, (N, C, H, W).
        margin (float): How far from zero the student's have to be.

    Returns:
        Tensor: Scalar; zero where every sign is the teacher's and every value beyond the margin.
    """
    short = torch.where(teacher > 0, F.relu(margin - student), F.relu(margin + student))
    return short.square().sum() / len(teacher)


@MODELS.register_module()
class ABLoss(DistillLoss):
    r"""Squared hinge that moves the student's activation boundaries to the teacher's.

    .. math:: L = \frac{3}{1000 N} \sum_{l=1}^{L} 2^{l - L} \sum_{nchw}
              \begin{cases} \max(0, m - r(x_s))^2 & x_t > 0 \\
                            \max(0, m + r(x_s))^2 & x_t \le 0 \end{cases}

    with x the values before a ReLU, m the margin, and r a convolution with batch norm
    (:func:`~mmkd.losses.utils.match_maps`), or the identity where the shapes agree. Only the
    teacher's signs count. *Knowledge Transfer via Distillation of Activation Boundaries Formed by
    Hidden Neurons*, Heo et al., AAAI 2019, the alternative loss, with the factors of the authors'
    code and of the benchmark of Contrastive Representation Distillation (CRD). Both train with this
    loss alone in an initial phase, 30 epochs in CRD, and without it from then on, as the example
    does. Weight in use: 1 (CRD).

    Shapes: levels from shallow to deep, (N, C_s, H_s, W_s) and (N, C_t, H_t, W_t), of equal size or
    one twice as large as the other. A batch of one needs maps of more than one position, as batch
    norm does.

    Args:
        margin (float): Defaults to 1.0, as in the authors' code.
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> ab=dict(type='ABLoss', end=0,
        ...         student=[f'backbone.layer{i}.2.relu@-1:input' for i in (1, 2, 3)],
        ...         teacher=[f'backbone.layer{i}.8.relu@-1:input' for i in (1, 2, 3)])
        >>> custom_hooks = [dict(type='mmkd.PretrainHook', losses=['ab'], length=30)]
    """

    def __init__(
        self, margin: float = 1.0, loss_weight: float = 1.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if margin < 0:
            raise ValueError(f'ABLoss: margin must not be negative, found margin={margin}')
        self.margin = margin

    def build(self, student: Tapped, teacher: Tapped) -> None:
        self.connectors = match_maps('ABLoss', student, teacher, keep_equal=True, norm=True)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        loss = 0.0
        for connector, (s, t) in zip(self.connectors, paired(student, teacher), strict=True):
            connected = connector(s)
            check_same_shape(connected, t, 'give images whose size both strides divide')
            loss = loss / 2 + boundary_distance(connected, t, self.margin)
        return self.loss_weight * 3 / 1000 * loss

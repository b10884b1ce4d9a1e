"""Flow of solution procedure."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, fp32, paired
from .utils import check_maps, pool_to_smaller


def _flow(first: Tensor, second: Tensor) -> Tensor:
    """FSP matrix of two maps of one network, (N, C_first, C_second)."""
    first, second = (x.flatten(2) for x in pool_to_smaller(first, second))
    return first @ second.mT / first.shape[2]


@fp32
def flow_distance(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """Mean squared difference of the FSP matrices, summed over neighbouring levels, in float32."""
    flows = zip(pairwise(student), pairwise(teacher), strict=True)
    return sum(F.mse_loss(_flow(*s), _flow(*t)) for s, t in flows)


@MODELS.register_module()
class FSPLoss(DistillLoss):
    r"""Squared difference of the flow between the input and the output map of each stage.

    .. math:: L = \sum_l \operatorname{mean}\bigl((G_s^l - G_t^l)^2\bigr), \qquad
              G_{ij}^l = \frac{1}{HW} \sum_{hw} f_{ihw}^l\, f_{jhw}^{l+1}

    *A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer
    Learning*, Yim et al., CVPR 2017, which trains with this loss alone in a first phase and without
    it from then on, as does the benchmark of Contrastive Representation Distillation (CRD), for 30
    epochs. Weight in use: 1 (CRD; Explicit Connection Distillation, Table 11). The ``-b 50`` of
    CRD's script has no effect: its first phase does not read it, and its main one has no term.

    Shapes: two levels or more from shallow to deep, (N, C_l, H_l, W_l), with equal channels in
    student and teacher; each level forms one matrix with the next. The larger map of the two is
    average-pooled to the size of the smaller. Sizes may differ between student and teacher.

    Args:
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> levels = ['backbone.layer1', 'backbone.layer2', 'backbone.layer3']
        >>> fsp=dict(type='FSPLoss', student=levels, teacher=levels, end=0)
        >>> custom_hooks = [dict(type='mmkd.PretrainHook', losses=['fsp'], length=30)]
    """

    def build(self, student: Tapped, teacher: Tapped) -> None:
        pairs = paired(student, teacher)
        if len(pairs) < 2:
            raise ValueError(
                f'FSPLoss compares the flow between levels and takes two or more, found '
                f"{len(pairs)}; list the taps, such as ['backbone.layer1', 'backbone.layer2']"
            )
        check_maps('FSPLoss', student, teacher)
        for s, t in pairs:
            if s.shape[1] != t.shape[1]:
                raise ValueError(
                    f'FSPLoss needs equal channels in student and teacher, found {s.shape[1]} and '
                    f'{t.shape[1]}; tap layers of the same width or use a teacher of the same width'
                )

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        student, teacher = zip(*paired(student, teacher), strict=True)
        return self.loss_weight * flow_distance(student, teacher)

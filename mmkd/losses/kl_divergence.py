"""Knowledge distillation by soft targets."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, check_same_shape, fp32, paired
from .utils import SAME_CLASSES, check_logits


@fp32
def kl_divergence(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """``tau^2 * KL(softmax(teacher / tau) || softmax(student / tau))``, mean over rows.

    Args:
        student (Tensor): Logits, (N, K).
        teacher (Tensor): Logits, (N, K).
        tau (float): Temperature.

    Returns:
        Tensor: Scalar; zero, with zero gradient, where there are no rows.
    """
    divergence = F.kl_div(
        F.log_softmax(student / tau, dim=1),
        F.log_softmax(teacher / tau, dim=1),
        reduction='sum',
        log_target=True,
    )
    return tau**2 * divergence / max(student.shape[0], 1)


@MODELS.register_module()
class KLDivergenceLoss(DistillLoss):
    r"""KL divergence between softened predictions of teacher and student.

    .. math:: L = \tau^2 \frac{1}{N} \sum_n \sum_k p^t_{nk} \log\frac{p^t_{nk}}{p^s_{nk}},
              \qquad p = \mathrm{softmax}(z / \tau)

    *Distilling the Knowledge in a Neural Network*, Hinton et al., 2015, section 2. On a two-stage
    detector the rows are RoIs, and the distiller runs the teacher's head on the student's proposals
    (*Distilling Knowledge via Knowledge Review*, supplement, section 2, with weight 20).

    Shapes: student and teacher logits (N, K), same K. With several taps the losses are averaged.

    Args:
        tau (float): Temperature. Defaults to 4.0 (Contrastive Representation Distillation,
            Tian et al., 2020, whose weights are 0.9 for this term and 0.1 for the cross entropy).
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0)
    """

    needs_softmax = True

    def __init__(self, tau: float = 4.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        if tau <= 0:
            raise ValueError(f'KLDivergenceLoss: tau must be positive, found tau={tau}')
        self.tau = tau

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_logits('KLDivergenceLoss', student, teacher)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        pairs = paired(student, teacher)
        for s, t in pairs:
            check_same_shape(s, t, SAME_CLASSES)
        return self.loss_weight * sum(kl_divergence(s, t, self.tau) for s, t in pairs) / len(pairs)

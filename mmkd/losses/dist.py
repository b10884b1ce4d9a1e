"""Knowledge distillation from a stronger teacher."""

from __future__ import annotations

from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, check_same_shape, fp32, paired
from .utils import SAME_CLASSES, check_logits

#: Added to the product of the norms, as in the authors' code. Classes that are improbable in the
#: whole batch have a product below it, and count for less.
_EPS = 1e-8


def _pearson_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the Pearson correlation of the rows of two matrices, mean over rows."""
    student = student - student.mean(dim=1, keepdim=True)
    teacher = teacher - teacher.mean(dim=1, keepdim=True)
    norms = student.norm(dim=1) * teacher.norm(dim=1)
    return 1 - ((student * teacher).sum(dim=1) / (norms + _EPS)).mean()


@fp32
def relation_distance(
    student: Tensor, teacher: Tensor, beta: float, gamma: float, tau: float
) -> Tensor:
    """``tau^2`` times the weighted sum of the inter- and the intra-class loss, in float32.

    Args:
        student (Tensor): Logits, (N, K).
        teacher (Tensor): Logits, (N, K).
        beta (float): Factor of the inter-class loss.
        gamma (float): Factor of the intra-class loss.
        tau (float): Temperature.

    Returns:
        Tensor: Scalar.
    """
    p_s, p_t = (student / tau).softmax(dim=1), (teacher / tau).softmax(dim=1)
    inter_class = _pearson_distance(p_s, p_t)
    intra_class = _pearson_distance(p_s.T, p_t.T)
    return tau**2 * (beta * inter_class + gamma * intra_class)


@MODELS.register_module()
class DISTLoss(DistillLoss):
    r"""Pearson correlation of predictions, per sample over classes and per class over samples.

    .. math:: L = \tau^2 \Bigl(\beta \frac{1}{N} \sum_n \bigl(1 - \rho(p^s_{n:}, p^t_{n:})\bigr)
              + \gamma \frac{1}{K} \sum_k \bigl(1 - \rho(p^s_{:k}, p^t_{:k})\bigr)\Bigr),
              \qquad p = \mathrm{softmax}(z / \tau)

    *Knowledge Distillation from A Stronger Teacher*, Huang et al., NeurIPS 2022, section 4. Weight
    in use: 2, with tau = 4 on CIFAR-100 and tau = 1 on ImageNet (the authors' configs).

    Shapes: student and teacher logits (N, K), same K. With several taps the losses are averaged. A
    batch of one has no intra-class relation: that term is constant, with zero gradient.

    Args:
        beta (float): Factor of the inter-class loss. Defaults to 1.0.
        gamma (float): Factor of the intra-class loss. Defaults to 1.0.
        tau (float): Temperature. Defaults to 1.0.
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> dist=dict(type='DISTLoss', student='head.fc', teacher='head.fc', tau=4.0,
        ...           loss_weight=2.0)
    """

    needs_softmax = True

    def __init__(
        self,
        beta: float = 1.0,
        gamma: float = 1.0,
        tau: float = 1.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight)
        if tau <= 0:
            raise ValueError(f'DISTLoss: tau must be positive, found tau={tau}')
        self.beta = beta
        self.gamma = gamma
        self.tau = tau

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_logits('DISTLoss', student, teacher)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        pairs = paired(student, teacher)
        loss = 0.0
        for s, t in pairs:
            check_same_shape(s, t, SAME_CLASSES)
            loss = loss + relation_distance(s, t, self.beta, self.gamma, self.tau)
        return self.loss_weight * loss / len(pairs)

"""Probabilistic knowledge transfer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, fp32, paired
from .utils import check_vectors

#: Added to both probabilities inside the logarithm, as in the authors' code.
_EPS = 1e-7


def _probabilities(feature: Tensor) -> Tensor:
    """Cosine similarities mapped to [0, 1], each row divided by its sum, (N, N)."""
    feature = F.normalize(feature, dim=1)
    similarity = (feature @ feature.T + 1) / 2
    return similarity / similarity.sum(dim=1, keepdim=True)


@fp32
def probability_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of ``p_t * log(p_t / p_s)`` over all pairs of samples, in float32."""
    p_s, p_t = _probabilities(student), _probabilities(teacher)
    return (p_t * ((p_t + _EPS) / (p_s + _EPS)).log()).mean()


@MODELS.register_module()
class PKTLoss(DistillLoss):
    r"""Divergence between the probabilities that two samples of a batch are neighbours.

    .. math:: L = \frac{1}{N^2} \sum_{ij} p_{ij}^t \log\frac{p_{ij}^t}{p_{ij}^s}, \qquad
              p_{ij} = \frac{K_{ij}}{\sum_k K_{ik}}, \quad K_{ij} = \frac{\cos(f_i, f_j) + 1}{2}

    *Learning Deep Representations with Probabilistic Knowledge Transfer*, Passalis and Tefas,
    ECCV 2018, with the mean over all pairs, a sample with itself included, of the authors' code.
    Weights in use: 30000 (benchmark of Contrastive Representation Distillation), 1000 (Explicit
    Connection Distillation, Table 11).

    Shapes: (N, C_s) and (N, C_t). With several taps the losses add up. A batch of one has no
    neighbours: loss and gradient are zero.

    Args:
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> pkt=dict(type='PKTLoss', student='head.fc:input', teacher='head.fc:input',
        ...          loss_weight=30000.0)
    """

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_vectors('PKTLoss', student, teacher)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        pairs = paired(student, teacher)
        return self.loss_weight * sum(probability_divergence(s, t) for s, t in pairs)

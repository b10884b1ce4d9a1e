"""Relational knowledge distillation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, fp32, paired
from .utils import check_vectors


def _relations(feature: Tensor) -> tuple[Tensor, Tensor]:
    """Distances over their mean, (N, N), and cosines of the angles of all triplets, (N, N, N)."""
    difference = feature[None] - feature[:, None]
    distance = difference.norm(dim=2)
    # Equal samples have neither distance nor direction: divide their zeros by one.
    mean = distance.sum() / (distance > 0).sum().clamp(min=1)
    direction = difference / (distance + (distance == 0))[..., None]
    return distance / (mean + (mean == 0)), direction @ direction.mT


@fp32
def relational_distance(
    student: Tensor, teacher: Tensor, distance_weight: float, angle_weight: float
) -> Tensor:
    """Weighted sum of the distance-wise and the angle-wise loss, in float32.

    Args:
        student (Tensor): Vectors, (N, C_s).
        teacher (Tensor): Vectors, (N, C_t).
        distance_weight (float): Factor of the distance-wise loss.
        angle_weight (float): Factor of the angle-wise loss.

    Returns:
        Tensor: Scalar; zero, with zero gradient, for a single row.
    """
    s_distance, s_angle = _relations(student)
    t_distance, t_angle = _relations(teacher)
    return distance_weight * F.smooth_l1_loss(
        s_distance, t_distance
    ) + angle_weight * F.smooth_l1_loss(s_angle, t_angle)


@MODELS.register_module()
class RKDLoss(DistillLoss):
    r"""Relational knowledge distillation: distances of pairs and angles of triplets.

    .. math:: L = \lambda_D \frac{1}{N^2} \sum_{ij} \ell\Bigl(\frac{d_{ij}^s}{\mu^s},
              \frac{d_{ij}^t}{\mu^t}\Bigr) + \lambda_A \frac{1}{N^3} \sum_{ijk}
              \ell(\cos\angle_{jik}^s, \cos\angle_{jik}^t)

    with l the smooth L1 loss, d the Euclidean distances, mu their mean over pairs of different
    vectors, and i the corner of the angle. *Relational Knowledge Distillation*, Park et al.,
    CVPR 2019, section 3.2. Weight in use: 1 (benchmark of Contrastive Representation Distillation).

    Shapes: (N, C_s) and (N, C_t). With several taps the losses add up. Takes memory for
    N^2 C + N^3 numbers. A batch of one has no relations: loss and gradient are zero.

    Args:
        distance_weight (float): lambda_D. Defaults to 25.0, the paper's for CIFAR-100.
        angle_weight (float): lambda_A. Defaults to 50.0, the paper's for CIFAR-100.
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> rkd=dict(type='RKDLoss', student='head.fc:input', teacher='head.fc:input')
    """

    def __init__(
        self, distance_weight: float = 25.0, angle_weight: float = 50.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__(loss_weight)
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_vectors('RKDLoss', student, teacher)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        return self.loss_weight * sum(
            relational_distance(s, t, self.distance_weight, self.angle_weight)
            for s, t in paired(student, teacher)
        )

"""Relational knowledge distillation."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, fp32, paired
from .utils import check_vectors

#: Numbers that a tensor of relations may hold (64 MiB in float32).
_MAX_RELATIONS = 2**24


def _relations(anchors: Tensor, feature: Tensor) -> tuple[Tensor, Tensor]:
    """Distances from n anchors, (n, N), and cosines of the angles at them, (n, N, N)."""
    difference = feature[None] - anchors[:, None]
    distance = difference.norm(dim=2)
    # Equal samples have neither distance nor direction: divide their zeros by one.
    direction = difference / (distance + (distance == 0))[..., None]
    return distance, direction @ direction.mT


def _compare(student: Tensor, teacher: Tensor, anchors: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Distances of student and teacher from some anchors, and their part of the angle-wise loss."""
    s_distance, s_angle = _relations(student[anchors], student)
    t_distance, t_angle = _relations(teacher[anchors], teacher)
    part = len(s_angle) / len(student)
    return s_distance, t_distance, part * F.smooth_l1_loss(s_angle, t_angle)


def _over_mean(distance: Tensor) -> Tensor:
    """Distances over the mean of those that are not zero."""
    mean = distance.sum() / (distance > 0).sum().clamp(min=1)
    return distance / (mean + (mean == 0))


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
    number = len(student)
    size = _MAX_RELATIONS // (number * max(number, student.shape[1], teacher.shape[1])) or 1
    compare = _compare
    if size < number:
        # What the backward pass needs of a few anchors is computed again.
        compare = partial(checkpoint, _compare, use_reentrant=False, preserve_rng_state=False)
    parts = [compare(student, teacher, slice(i, i + size)) for i in range(0, number, size)]
    s_distances, t_distances, angle_losses = zip(*parts, strict=True)
    distances = (_over_mean(torch.cat(rows)) for rows in (s_distances, t_distances))
    return distance_weight * F.smooth_l1_loss(*distances) + angle_weight * sum(angle_losses)


@MODELS.register_module()
class RKDLoss(DistillLoss):
    r"""Relational knowledge distillation: distances of pairs and angles of triplets.

    .. math:: L = \lambda_D \frac{1}{N^2} \sum_{ij} \ell\Bigl(\frac{d_{ij}^s}{\mu^s},
              \frac{d_{ij}^t}{\mu^t}\Bigr) + \lambda_A \frac{1}{N^3} \sum_{ijk}
              \ell(\cos\angle_{jik}^s, \cos\angle_{jik}^t)

    with l the smooth L1 loss, d the Euclidean distances, mu their mean over pairs of different
    vectors, and i the corner of the angle. *Relational Knowledge Distillation*, Park et al.,
    CVPR 2019, section 3.2. Weight in use: 1 (benchmark of Contrastive Representation Distillation).

    Shapes: (N, C_s) and (N, C_t). With several taps the losses add up. A batch of one has no
    relations: loss and gradient are zero.

    Memory: some ``16 * N^3 + 8 * N^2 * C`` bytes, for C up to N, where the angles of a batch are at
    most 2^24 numbers (256 vectors). Of larger batches a few corners i at a time are compared, and
    again in the backward pass: a fifth more time, and less than 1 GiB for 1,024.

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

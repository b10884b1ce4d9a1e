"""Distillation of the sigmoid class scores of one-stage detectors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

from mmkd.registry import MODELS

from .anchors import AnchorRegions, check_levels
from .base import DistillLoss, Tapped, check_same_shape, fp32, paired
from .utils import SAME_CLASSES, check_maps


@fp32
def quality_focal_kd(student: Tensor, teacher: Tensor, weight: Tensor, beta: float) -> Tensor:
    """Binary cross entropy with the teacher's scores, focused where the scores differ; a sum.

    Args:
        student (Tensor): Logits, of any shape.
        teacher (Tensor): Logits of the same shape.
        weight (Tensor): Weights, broadcast.
        beta (float): Exponent of the difference.

    Returns:
        Tensor: Scalar.
    """
    target = teacher.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(student, target, reduction='none')
    return (weight * (student.sigmoid() - target).abs().pow(beta) * entropy).sum()


@MODELS.register_module()
class QualityFocalKDLoss(DistillLoss):
    r"""Quality focal loss between the sigmoid class scores of teacher and student.

    .. math:: L = \frac{1}{P} \sum_i \sum_k \lvert q^s_{ik} - q^t_{ik} \rvert^\beta\,
              \mathrm{BCE}(q^s_{ik}, q^t_{ik}), \qquad q = \sigma(z)

    over the anchors i of all levels that stand on the image and are not ignored by the student's
    assigner; P is the number of its positives, at least one an image, averaged over processes. This
    is the classification loss of *Bridging Cross-task Protocol Inconsistency for Distillation in
    Dense Object Detection*, Yang et al., ICCV 2023, section 3.1 (beta 1, weight 1 with GFL), and,
    as ``KDQualityFocalLoss``, of *CrossKD: Cross-Head Knowledge Distillation for Object Detection*,
    Wang et al., CVPR 2024 (beta 1, weight 1 with GFL, ATSS and RetinaNet, 0.4 with FCOS), whose
    student logits are those of the teacher's head on the student's features. The gradient runs
    through the focal factor as well, as in both codes.

    Without an assigner, for heads without anchors (FCOS) or with an assigner that depends on
    predictions (RTMDet), every position counts and P is the sum of the teacher's largest score at
    each position, at least 1. That P is this library's, after CrossKD's box term: published is
    FCOS's sum of centerness targets.

    Shapes: levels (N, A * K, H, W) on both sides, equal.

    Args:
        anchor_generator (dict, optional): Config of the student's anchor generator.
        assigner (dict, optional): Config of the student's assigner; both or none.
        beta (float): Defaults to 1.0.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ValueError: If only one of the configs is given, the shapes differ or the levels are not
            those of the anchor generator.

    Example:
        >>> head = _base_.model.student.bbox_head
        >>> kd=dict(type='QualityFocalKDLoss', student='bbox_head[0]', teacher='bbox_head[0]',
        ...         anchor_generator=head.anchor_generator,
        ...         assigner=_base_.model.student.train_cfg.assigner)
    """

    def __init__(
        self,
        anchor_generator: dict | None = None,
        assigner: dict | None = None,
        beta: float = 1.0,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if beta < 0:
            raise ValueError(f'QualityFocalKDLoss: beta must not be negative, found beta={beta}')
        if (anchor_generator is None) != (assigner is None):
            raise ValueError(
                'QualityFocalKDLoss takes both anchor_generator and assigner, or none; found '
                f'anchor_generator={anchor_generator} and assigner={assigner}'
            )
        self.beta = beta
        self.regions = None
        if assigner is not None:
            self.regions = AnchorRegions('QualityFocalKDLoss', anchor_generator, assigner)

    @property
    def anchor_generator(self) -> Any:
        """The anchor generator, which has to be that of the student's head; None without."""
        return self.regions and self.regions.generator

    @property
    def needs_labels(self) -> bool:
        """Whether it is told positives by boxes."""
        return self.regions is not None

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_maps('QualityFocalKDLoss', student, teacher)
        pairs = paired(student, teacher)
        for s, t in pairs:
            check_same_shape(s, t, SAME_CLASSES)
        if self.regions is None:
            return
        check_levels('QualityFocalKDLoss', self.regions.generator, len(pairs), "'bbox_head[0]'")
        for (s, _), anchors in zip(pairs, self.regions.generator.num_base_priors, strict=True):
            if s.shape[1] % anchors:
                raise ValueError(
                    f'QualityFocalKDLoss: scores {tuple(s.shape)} are not those of {anchors} '
                    "anchors a position; give the anchor generator of the student's own head"
                )

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        pairs = paired(student, teacher)
        for s, t in pairs:
            check_same_shape(s, t, SAME_CLASSES)
        if self.regions is None:
            weights = [s.new_ones(()) for s, _ in pairs]
            scores = (t.float().amax(dim=1).sigmoid().sum() for _, t in pairs)
            number = torch.stack(list(scores)).sum()
            floor = 1.0
        else:
            positives, counted, _ = self.regions([s.shape[2:] for s, _ in pairs], data_samples)
            number = torch.cat(positives, dim=1).sum(dim=1).clamp(min=1).sum().float()
            weights = [
                count.view(len(s), *s.shape[2:], -1).permute(0, 3, 1, 2)[:, :, None]
                for count, (s, _) in zip(counted, pairs, strict=True)
            ]
            floor = 1 / get_world_size()
        # DDP averages gradients: the mean number makes them those of the joint batch.
        all_reduce(number, op='mean')
        number = number.clamp(min=floor)
        loss = 0.0
        for weight, (s, t) in zip(weights, pairs, strict=True):
            if weight.ndim:
                s, t = (x.unflatten(1, (weight.shape[1], -1)) for x in (s, t))
            loss = loss + quality_focal_kd(s, t, weight, self.beta)
        return self.loss_weight * loss / number

"""Fine-grained feature imitation."""

from __future__ import annotations

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from mmkd.registry import MODELS

from .anchors import batch_anchors, check_levels
from .base import DistillLoss, Tapped, check_same_shape, fp32, paired
from .utils import check_same_size, pad_boxes

#: Pairs of a box and an anchor that are compared at once: 4 MiB a temporary.
_PAIRS = 2**20


@torch.no_grad()
def imitation_mask(
    anchors: Tensor, valid: Tensor, boxes: Tensor, size: torch.Size, psi: float
) -> Tensor:
    """Positions with an anchor near a ground-truth box: IoU above ``psi`` times the box's largest.

    Args:
        anchors (Tensor): Anchors of a level, row by row, (H * W * A, 4).
        valid (Tensor): Whether an anchor stands on the image, (N, H * W * A).
        boxes (Tensor): Ground truth, (N, B, 4); a box of no area is near nothing.
        size (torch.Size): H and W.
        psi (float): Fraction of the largest IoU.

    Returns:
        Tensor: Mask, bool, (N, 1, H, W).
    """
    from torchvision.ops import box_iou

    near = torch.zeros_like(valid)
    # Boxes do not depend on each other: a few at a time bound the memory.
    for found, flags, image in zip(near, valid, boxes, strict=True):
        for some in image.split(max(1, _PAIRS // len(anchors))):
            iou = box_iou(some, anchors) * flags
            found |= (iou > psi * iou.amax(dim=1, keepdim=True)).any(dim=0)
    return near.view(len(boxes), 1, *size, -1).any(dim=4)


@fp32
def masked_squared_error(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Sum of ``(student - teacher)^2`` over the positions of the mask, in float32."""
    return ((student - teacher).square() * mask).sum()


@MODELS.register_module()
class FGFILoss(DistillLoss):
    r"""Squared error between features at the positions of anchors near ground-truth boxes.

    .. math:: L = \sum_l \frac{1}{2 N_l} \sum_{nij} M_{nij}^l
              \lVert r_l(f_s^l)_{nij} - f_{t,nij}^l \rVert_2^2, \qquad N_l = \sum_{nij} M_{nij}^l

    with r a 3x3 convolution and a ReLU. M is 1 where an anchor's IoU with a ground-truth box
    exceeds psi times the largest IoU which that box has with any anchor of the level on the image.
    Anchors on the padding of an image are left out, as mmdet's valid flags do, so that a mask does
    not depend on the images it is batched with. *Distilling Object Detectors with Fine-grained
    Feature Imitation*, Wang et al., CVPR 2019, section 3, for one level. Here every level is
    normalised by its own number of positions, counted over the batch of all processes, and levels
    add up. Without ground truth the loss and its gradients are zero. Weight: 0.01 (authors' code;
    *Distilling Knowledge via Knowledge Review*, supplement, section 1), from the 400th step on in
    the authors' code (``begin=400, by_epoch=False`` in the term).

    Shapes: levels (N, C_s, H_l, W_l) and (N, C_t, H_l, W_l), one for each stride of the anchor
    generator, in its order. Data samples carry ``gt_instances.bboxes``, ``img_shape`` and
    ``batch_input_shape``, as mmdet's data preprocessor leaves them.

    Args:
        anchor_generator (dict): Config of the student's own anchor generator: its ``rpn_head``'s,
            or the ``bbox_head``'s of a one-stage detector.
        psi (float): Fraction of a box's largest IoU. Defaults to 0.5.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ValueError: If the levels are not those of the anchor generator, or differ in size.

    Example:
        >>> fgfi=dict(type='FGFILoss', student='neck', teacher='neck', loss_weight=0.01,
        ...           anchor_generator=_base_.model.rpn_head.anchor_generator)
    """

    needs_labels = True

    def __init__(
        self,
        anchor_generator: dict,
        psi: float = 0.5,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        from mmdet.registry import TASK_UTILS

        if not 0 <= psi < 1:
            raise ValueError(f'FGFILoss: psi must be in [0, 1), found psi={psi}')
        self.psi = psi
        self.anchor_generator = TASK_UTILS.build({'_scope_': 'mmdet', **anchor_generator})

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_same_size('FGFILoss', student, teacher)
        pairs = paired(student, teacher)
        check_levels('FGFILoss', self.anchor_generator, len(pairs), "'neck'")
        self.adaptations = nn.ModuleList(
            nn.Sequential(nn.Conv2d(s.shape[1], t.shape[1], kernel_size=3, padding=1), nn.ReLU())
            for s, t in pairs
        )

    def imitation_masks(self, sizes: list[torch.Size], data_samples: list) -> list[Tensor]:
        """Masks of all levels.

        Args:
            sizes (list[torch.Size]): H and W of each level.
            data_samples (list): The batch's data samples.

        Returns:
            list[Tensor]: Bool, (N, 1, H, W) each.

        Raises:
            ValueError: If a level has not the stride of the anchor generator's.
        """
        generator, boxes = self.anchor_generator, pad_boxes(data_samples)
        anchors, valid = batch_anchors(
            'FGFILoss', generator, sizes, data_samples, 'img_shape', boxes.device
        )
        return [
            imitation_mask(*level, boxes, size, self.psi)
            for *level, size in zip(anchors, valid, sizes, strict=True)
        ]

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        pairs = paired(student, teacher)
        masks = self.imitation_masks([t.shape[2:] for _, t in pairs], data_samples)
        numbers = torch.stack([mask.sum() for mask in masks]).float()
        # DDP averages gradients: the mean number makes them those of the joint batch.
        all_reduce(numbers, op='mean')
        numbers = numbers.clamp(min=1 / get_world_size())
        loss = 0.0
        levels = zip(self.adaptations, pairs, masks, numbers, strict=True)
        for adaptation, (s, t), mask, number in levels:
            adapted = adaptation(s)
            check_same_shape(adapted, t, 'tap levels of the same stride')
            loss = loss + masked_squared_error(adapted, t, mask) / (2 * number)
        return self.loss_weight * loss

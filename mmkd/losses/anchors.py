"""Anchors of a batch and what an assigner says of them, for losses that look at some of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def batch_anchors(
    loss: str,
    generator,
    sizes: list[torch.Size],
    data_samples: list,
    area: str,
    device,
    flags_device=None,
) -> tuple[list[Tensor], list[Tensor]]:
    """Anchors of each level and whether they stand on each image.

    Args:
        loss (str): Name of the loss, for the message.
        generator: An anchor generator of mmdet.
        sizes (list[torch.Size]): H and W of each level.
        data_samples (list): The batch's data samples.
        area (str): The meta key of the part of the batch that counts as an image: ``img_shape``,
            or ``pad_shape`` as in mmdet's heads.
        device (torch.device): Where the boxes are.
        flags_device (torch.device, optional): Where the flags are to be. Defaults to ``device``.

    Returns:
        tuple: Levels of anchors (H * W * A, 4), and levels of flags (N, H * W * A).

    Raises:
        ValueError: If a level has not the stride of the anchor generator's.
    """
    height, width = data_samples[0].batch_input_shape
    for (h, w), (stride_w, stride_h) in zip(sizes, generator.strides, strict=True):
        if abs(h * stride_h - height) >= stride_h or abs(w * stride_w - width) >= stride_w:
            raise ValueError(
                f'{loss}.anchor_generator has the strides {generator.strides}, but images '
                f'of {height}x{width} gave maps of {[tuple(size) for size in sizes]}; give '
                "the anchor generator of the student's own head"
            )
    # A copy only in the first step on a device; `grid_priors` would copy in each.
    generator.base_anchors = [base.to(device) for base in generator.base_anchors]
    anchors = generator.grid_priors(sizes, device=device)
    valid = [
        generator.valid_flags(sizes, getattr(sample, area), device=flags_device or device)
        for sample in data_samples
    ]
    return anchors, [torch.stack(level) for level in zip(*valid, strict=True)]


def check_levels(loss: str, generator, count: int, tap: str) -> None:
    """Raise unless the taps give as many levels as the anchor generator has."""
    if count != generator.num_levels:
        raise ValueError(
            f'{loss}.anchor_generator has {generator.num_levels} levels, strides '
            f'{generator.strides}, and the taps give {count}; tap {tap} and '
            "give the anchor generator of the student's own head"
        )


def atss_thresholds(anchors: Tensor, overlaps: Tensor, boxes: Tensor, counts, topk: int) -> Tensor:
    """Mean plus standard deviation of a box's IoU with the anchors nearest to its centre, (B,).

    *Bridging the Gap Between Anchor-based and Anchor-free Detection*, Zhang et al., CVPR 2020:
    the ``topk`` nearest anchors of each level are candidates.

    Args:
        anchors (Tensor): Anchors of all levels, (A, 4).
        overlaps (Tensor): IoU, (A, B).
        boxes (Tensor): Ground truth, (B, 4).
        counts (list[int]): Number of anchors of each level.
        topk (int): Candidates of a box on a level.
    """
    centres = ((x[:, :2] + x[:, 2:]) / 2 for x in (anchors, boxes))
    candidates = [
        iou.gather(0, distance.topk(min(topk, len(iou)), dim=0, largest=False).indices)
        for distance, iou in zip(
            torch.cdist(*centres, compute_mode='donot_use_mm_for_euclid_dist').split(counts),
            overlaps.split(counts),
            strict=True,
        )
    ]
    std, mean = torch.std_mean(torch.cat(candidates), dim=0)
    return mean + std


class AnchorRegions:
    """Positive and counted anchors of a batch, as mmdet's dense heads get them.

    Args:
        loss (str): Name of the loss, for messages.
        anchor_generator (dict): Config of the student's anchor generator.
        assigner (dict): Config of the student's assigner: ``train_cfg.assigner`` of its head. It
            must need boxes only, as ATSSAssigner and MaxIoUAssigner do.
    """

    def __init__(self, loss: str, anchor_generator: dict, assigner: dict) -> None:
        from mmdet.registry import TASK_UTILS

        self.loss = loss
        self.generator = TASK_UTILS.build({'_scope_': 'mmdet', **anchor_generator})
        self.assigner = TASK_UTILS.build({'_scope_': 'mmdet', **assigner})
        # mmdet hands the numbers of anchors a level to this assigner and its kin only.
        self.by_level = hasattr(self.assigner, 'topk')

    @torch.no_grad()
    def __call__(self, sizes: list[torch.Size], data_samples: list, vlr: bool = False) -> tuple:
        """Assign the anchors of a batch.

        Args:
            sizes (list[torch.Size]): H and W of each level.
            data_samples (list): The batch's data samples, with ``gt_instances``, ``pad_shape`` and
                ``batch_input_shape``.
            vlr (bool): Whether to compute the valuable localization region too.

        Returns:
            tuple: Levels of positives, bool, (N, H * W * A); levels of anchors that count, those
            on the image which the assigner does not ignore, bool; levels of the IoU of anchors of
            the valuable localization region, 0 elsewhere, or None.
        """
        from mmdet.structures.bbox import get_box_tensor
        from mmengine.structures import InstanceData

        device = get_box_tensor(data_samples[0].gt_instances.bboxes).device
        # Flags depend on sizes alone: on the host, where looking for them waits for nobody.
        levels, flags = batch_anchors(
            self.loss, self.generator, sizes, data_samples, 'pad_shape', device, 'cpu'
        )
        flags = [level.numpy() for level in flags]
        anchors = torch.cat(levels)
        region = anchors.new_zeros(len(data_samples), len(anchors))
        positive, counted = (torch.zeros_like(region, dtype=torch.bool) for _ in range(2))
        for i, sample in enumerate(data_samples):
            rows = np.flatnonzero(np.concatenate([level[i] for level in flags]))
            rows = torch.from_numpy(rows).to(device, non_blocking=True)
            inside = anchors[rows]
            counts = [int(level[i].sum()) for level in flags]
            boxes = get_box_tensor(sample.gt_instances.bboxes)
            truth = InstanceData(bboxes=boxes, labels=sample.gt_instances.labels)
            args = (counts, truth) if self.by_level else (truth,)
            ignored = sample.get('ignored_instances')
            assigned = self.assigner.assign(InstanceData(priors=inside), *args, ignored).gt_inds
            positive[i, rows] = assigned > 0
            counted[i, rows] = assigned >= 0
            if vlr and len(boxes):
                region[i, rows] = self.valuable_region(inside, boxes, counts)
        counts = [len(level) for level in levels]
        return (
            positive.split(counts, dim=1),
            counted.split(counts, dim=1),
            region.split(counts, dim=1) if vlr else None,
        )

    def valuable_region(self, anchors: Tensor, boxes: Tensor, counts: list[int]) -> Tensor:
        """IoU with the nearest box where an anchor is in the valuable localization region, else 0.

        *Localization Distillation for Dense Object Detection*, algorithm 1, with gamma 0.25: the
        DIoU with a box is below the box's ATSS threshold and at least gamma times it.
        """
        from torchvision.ops import box_iou, distance_box_iou

        iou, diou = box_iou(anchors, boxes), distance_box_iou(anchors, boxes)
        threshold = atss_thresholds(anchors, iou, boxes, counts, self.assigner.topk)
        near = (diou < threshold) & (diou >= 0.25 * threshold)
        return (iou * near).amax(dim=1)

"""Knowledge review: attention-based fusion and the hierarchical context loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, check_same_shape, fp32, paired
from .utils import channels_last


class AttentionBasedFusion(nn.Module):
    """ABF: merge one level of the student with what came from the deeper levels.

    Layer order and initialisation as in the authors' code.

    Args:
        in_channels (int): Channels of the student's map.
        mid_channels (int): Channels of the residual handed from level to level.
        out_channels (int): Channels of the teacher's map.
        fuse (bool): False for the deepest level, which has no residual.
    """

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int, fuse: bool) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(mid_channels),
        )
        self.expand = nn.Sequential(
            nn.Conv2d(mid_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.attention = nn.Conv2d(2 * mid_channels, 2, kernel_size=1) if fuse else None
        nn.init.kaiming_uniform_(self.reduce[0].weight, a=1)
        nn.init.kaiming_uniform_(self.expand[0].weight, a=1)

    def forward(
        self, feature: Tensor, residual: Tensor | None, out_size: torch.Size
    ) -> tuple[Tensor, Tensor]:
        """Return the map to compare, (N, out_channels, *out_size), and the next residual."""
        x = self.reduce(feature)
        if self.attention is not None:
            # The convolution of both, concatenated; of the residual before it is enlarged.
            own, deeper = self.attention.weight.chunk(2, dim=1)
            scores = _resized(F.conv2d(residual, deeper), x.shape[2:])
            weights = (scores + F.conv2d(x, own, self.attention.bias)).sigmoid()
            x = (x * weights[:, :1]).add_(_resized(residual, x.shape[2:]) * weights[:, 1:])
        x = _resized(x, out_size)
        return self.expand(x), x


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size, mode='nearest')


@fp32
def hierarchical_context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """HCL of one level: squared error at full size and of average-pooled pyramids.

    Pools of 4, 2 and 1 that are smaller than the map's height take part; each weighs half of the
    one before, starting from 1 for the full size, and the sum is divided by the weights used.

    Args:
        student (Tensor): Map, (N, C, H, W).
        teacher (Tensor): Map, (N, C, H, W).

    Returns:
        Tensor: Scalar.
    """
    # Pooling is linear: a pyramid of the difference is the difference of two.
    difference = pooled = student - teacher
    loss = difference.square().mean()
    sides = difference.shape[2:]
    weight = total = 1.0
    for size in (4, 2, 1):
        if size >= student.shape[2]:
            continue
        weight /= 2
        total += weight
        nested = all(n % m == 0 for n, m in zip(sides, pooled.shape[2:], strict=True))
        pooled = F.adaptive_avg_pool2d(pooled if nested else difference, size)
        loss = loss + weight * pooled.square().mean()
    return loss / total


def _as_maps(value: Tapped, other: Tapped) -> list[tuple[Tensor, Tensor]]:
    """Pair the levels; a pooled vector (N, C) becomes a map (N, C, 1, 1)."""
    return [
        tuple(x[:, :, None, None] if x.ndim == 2 else x for x in pair)
        for pair in paired(value, other)
    ]


@MODELS.register_module()
class ReviewKDLoss(DistillLoss):
    r"""Knowledge review: a teacher level is learnt from the student's levels as deep or deeper.

    .. math:: L = \sum_{i=1}^{n}
              \mathrm{HCL}\bigl(\mathrm{ABF}_i(f_s^i, \dots, f_s^n),\, f_t^i\bigr)

    *Distilling Knowledge via Knowledge Review*, Chen et al., CVPR 2021, section 3, and its
    supplement. Weights: CIFAR-100 5.0 (resnet56 -> resnet20 0.6, resnet110 -> resnet32 1.0,
    ShuffleNetV2 8.0 in the authors' scripts) warmed up linearly over 20 epochs (``warmup=20`` in
    the term), ImageNet 1.0 (ResNet-50 -> MobileNetV1 8.0 in the authors' scripts), detection 0.5
    in the supplement. The authors' released configs have, for the students R50, R18 and
    MobileNetV2, 1.0, 1.2 and 2.0 with Faster R-CNN and 0.8, 1.5 and 1.0 with Mask R-CNN, and 1.0
    for RetinaNet R50 at lr 0.005.

    Shapes: levels from shallow to deep, (N, C, H, W) each, heights not increasing; (N, C) stands
    for a pooled vector. Student and teacher may differ in channels and in size.

    Args:
        loss_weight (float): Defaults to 1.0.
        mid_channels (int, optional): Channels of the fused residual. Defaults to the channels of
            the student's deepest level, at most 512; 256 on an FPN.

    Example:
        >>> review=dict(type='ReviewKDLoss', student='neck', teacher='neck', loss_weight=0.5)
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        mid_channels: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        self.mid_channels = mid_channels
        self.fusions = nn.ModuleList()
        # Convolutions of few channels gain by it, on a CPU; an FPN's would only pay for the copies.
        self._is_channels_last = False

    def build(self, student: Tapped, teacher: Tapped) -> None:
        levels = _as_maps(student, teacher)
        for s, t in levels:
            if s.ndim != 4 or t.ndim != 4:
                raise ValueError(
                    f'ReviewKDLoss takes maps (N, C, H, W) or vectors (N, C), found student '
                    f'{tuple(s.shape)} and teacher {tuple(t.shape)}'
                )
        for side, maps in zip(('student', 'teacher'), zip(*levels, strict=True), strict=True):
            heights = [value.shape[2] for value in maps]
            if heights != sorted(heights, reverse=True):
                raise ValueError(
                    f'ReviewKDLoss takes levels from shallow to deep, found {side} heights '
                    f'{heights}; list the taps from the first stage to the last'
                )
        mid = self.mid_channels or min(512, levels[-1][0].shape[1])
        self._is_channels_last = any(s.shape[1] < mid for s, _ in levels)
        last = len(levels) - 1
        for i, (s, t) in enumerate(levels):
            self.fusions.append(AttentionBasedFusion(s.shape[1], mid, t.shape[1], fuse=i < last))

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        loss, residual = 0.0, None
        levels = zip(self.fusions, _as_maps(student, teacher), strict=True)
        for fusion, (s, t) in reversed(list(levels)):
            s = channels_last(s) if self._is_channels_last else s
            reviewed, residual = fusion(s, residual, t.shape[2:])
            check_same_shape(reviewed, t, 'the teacher has changed since the loss was built')
            loss = loss + hierarchical_context_loss(reviewed, t)
        return self.loss_weight * loss

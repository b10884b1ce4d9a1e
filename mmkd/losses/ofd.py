"""A comprehensive overhaul of feature distillation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, as_list, fp32, paired
from .utils import check_maps

#: Share of negative values below which the authors' code takes their mean for unknown.
_RARELY = 0.001


@fp32
def negative_sums(x: Tensor) -> Tensor:
    """Sum and number of the negative entries of every channel, (2, C), in float32."""
    dims = (0, 2, 3)
    return torch.stack([x.clamp(max=0).sum(dims), (x < 0).sum(dims)])


@fp32
def partial_l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error without the entries where the student is below a teacher that is not positive.

    Args:
        student (Tensor): Map, (N, C, H, W).
        teacher (Tensor): Map after the margin ReLU, (N, C, H, W).

    Returns:
        Tensor: Scalar, summed over an image, mean over images.
    """
    difference = student - teacher
    # Student above teacher, or teacher positive: half the time of two comparisons and a where().
    counts = torch.maximum(difference.detach(), teacher) > 0
    return (difference * counts).square().sum() / len(teacher)


def normal_margins(scale: Tensor, shift: Tensor) -> Tensor:
    """Mean negative value of every channel, if the values are normal, in float32.

    As in the authors' code: three times below zero the scale where hardly any value is negative.

    Args:
        scale (Tensor): Of the norm that the values come from, (C,); its magnitude is their standard
            deviation.
        shift (Tensor): Of the norm, (C,), their mean.

    Returns:
        Tensor: (C,).
    """
    scale, shift = scale.double().abs(), shift.double()
    negative = torch.special.ndtr(-shift / scale)
    density = (-0.5 * (shift / scale).square()).exp() / math.sqrt(2 * math.pi)
    mean = shift - scale * density / negative
    return torch.where(negative > _RARELY, mean, -3 * scale).float()


class FixedMarginReLU(nn.Module):
    """``max(x, m_c)``.

    Args:
        margin (Tensor): m, (C,).
    """

    def __init__(self, margin: Tensor) -> None:
        super().__init__()
        self.register_buffer('margin', margin)

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, self.margin[:, None, None])


class MarginReLU(FixedMarginReLU):
    r"""``max(x, m_c)``, with m_c the mean negative value of the channel.

    The mean runs over everything that was seen in training, by all processes.

    Args:
        channels (int): Channels of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(torch.zeros(channels))
        self.register_buffer('num_negatives', torch.zeros(channels, dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            sums = negative_sums(x)
            all_reduce(sums)
            total, number = sums
            self.num_negatives += number.long()
            self.margin += (total - number * self.margin) / self.num_negatives.clamp(min=1)
        return super().forward(x)


@MODELS.register_module()
class OFDLoss(DistillLoss):
    r"""Partial squared error to the teacher's map after a ReLU with a negative margin.

    .. math:: L = \frac{1}{N} \sum_{l=1}^{L} 2^{l - L} \sum_{nchw}
              \begin{cases} 0 & r(x_s) \le y \le 0 \\ (r(x_s) - y)^2 & \text{else} \end{cases},
              \qquad y = \max(x_t, m_c), \quad m_c = \mathbb{E}[x_t \mid x_t < 0]

    with x the values before a ReLU, the teacher's average-pooled to the size of the student's, m
    the margin of channel c, and r a 1x1 convolution with batch norm. *A Comprehensive Overhaul of
    Feature Distillation*, Heo et al., ICCV 2019, section 3. Weights in use: 1e-3 (CIFAR-100) and
    1e-4 (ImageNet) in the authors' code, which compares maps of equal size; the pooling is that of
    megvii-research/mdistiller.

    The paper takes the margins from the data or from the norm before the ReLU:

    - ``margins='norm'``, as in the authors' code: the values are taken to be normal with the norm's
      scale and shift as deviation and mean. The teacher's taps are the maps, then the ``:weight``
      of the norm of every map, then the ``:bias`` of every one. Where the tap is the sum of a
      norm's output and a shortcut, the norm does not know the shortcut's share.
    - ``margins='data'``: a mean over all entries seen so far, kept in the checkpoint. It needs no
      norm. The margins of the first steps rest on few images.

    Shapes: levels from shallow to deep, (N, C_s, H_s, W_s) and (N, C_t, H_t, W_t), and (C_t,) of
    scales and shifts. A batch of one needs maps of more than one position, as batch norm does.

    Args:
        margins (str): ``'data'`` or ``'norm'``. Defaults to ``'data'``.
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> ofd=dict(type='OFDLoss', loss_weight=1e-3,
        ...          student=[f'backbone.layer{i}.2.relu@-1:input' for i in (1, 2, 3)],
        ...          teacher=[f'backbone.layer{i}.8.relu@-1:input' for i in (1, 2, 3)])
    """

    def __init__(
        self, margins: str = 'data', loss_weight: float = 1.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if margins not in ('data', 'norm'):
            raise ValueError(f"OFDLoss: unknown margins={margins!r}; give 'data' or 'norm'")
        self.margins = margins

    def _split(self, student: Tapped, teacher: Tapped) -> tuple[list[Tensor], list[Tensor]]:
        """The teacher's maps, and what else it gives."""
        levels = len(as_list(student)) if self.margins == 'norm' else None
        teacher = as_list(teacher)
        return teacher[:levels], teacher[levels:] if levels else []

    def build(self, student: Tapped, teacher: Tapped) -> None:
        maps, norms = self._split(student, teacher)
        check_maps('OFDLoss', student, maps)
        self.connectors = nn.ModuleList(
            ConvModule(s.shape[1], t.shape[1], 1, norm_cfg=dict(type='BN'), act_cfg=None)
            for s, t in paired(student, maps)
        )
        if self.margins == 'data':
            self.margin_relus = nn.ModuleList(MarginReLU(t.shape[1]) for t in maps)
            return
        found = [tuple(x.shape) for x in norms]
        if found != 2 * [(t.shape[1],) for t in maps]:
            raise ValueError(
                "OFDLoss with margins='norm' takes, after the teacher's maps, the scale of the "
                f'norm before each and then the shift of each, found shapes {found}; tap for '
                "instance ['backbone.layer1.4.bn2:weight', 'backbone.layer1.4.bn2:bias'] after one "
                "map, or set margins='data'"
            )
        norms = zip(norms[: len(maps)], norms[len(maps) :], strict=True)
        self.margin_relus = nn.ModuleList(FixedMarginReLU(normal_margins(*n)) for n in norms)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        loss = 0.0
        maps, _ = self._split(student, teacher)
        levels = zip(self.connectors, self.margin_relus, paired(student, maps), strict=True)
        for connector, margin_relu, (s, t) in levels:
            connected = connector(s)
            if t.shape[2:] != s.shape[2:]:
                t = F.adaptive_avg_pool2d(t, s.shape[2:])
            loss = loss / 2 + partial_l2(connected, margin_relu(t))
        return self.loss_weight * loss

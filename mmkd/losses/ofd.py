"""A comprehensive overhaul of feature distillation."""

from __future__ import annotations

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, as_list, check_same_shape, fp32, paired
from .utils import match_maps


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
    counts = (student > teacher) | (teacher > 0)
    return torch.where(counts, student - teacher, 0.0).square().sum() / len(teacher)


class MarginReLU(nn.Module):
    r"""``max(x, m_c)``, with m_c the mean negative value of the channel.

    The mean runs over everything that was seen in training, by all processes.

    Args:
        channels (int): Channels of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer('margin', torch.zeros(channels))
        self.register_buffer('num_negatives', torch.zeros(channels, dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            sums = negative_sums(x)
            all_reduce(sums)
            total, number = sums
            self.num_negatives += number.long()
            self.margin += (total - number * self.margin) / self.num_negatives.clamp(min=1)
        return torch.maximum(x, self.margin[:, None, None])


@MODELS.register_module()
class OFDLoss(DistillLoss):
    r"""Partial squared error to the teacher's map after a ReLU with a negative margin.

    .. math:: L = \frac{1}{N} \sum_{l=1}^{L} 2^{l - L} \sum_{nchw}
              \begin{cases} 0 & r(x_s) \le y \le 0 \\ (r(x_s) - y)^2 & \text{else} \end{cases},
              \qquad y = \max(x_t, m_c), \quad m_c = \mathbb{E}[x_t \mid x_t < 0]

    with x the values before a ReLU, m the margin of channel c, and r a convolution with batch norm
    (:func:`~mmkd.losses.utils.match_maps`). *A Comprehensive Overhaul of Feature Distillation*, Heo
    et al., ICCV 2019, section 3. Weights in use: 1e-3 (CIFAR-100) and 1e-4 (ImageNet) in the
    authors' code.

    The margins are means over the training images. The paper takes them from the data or, as the
    authors' code does, computes them from scale and shift of the batch norm before the ReLU, where
    the values are taken to be normal. Here they come from the data: a mean over all entries seen so
    far, kept in the checkpoint. It needs no batch norm at the tap, and it is right where the tap is
    the sum of a batch norm's output and a shortcut, whose mean the batch norm does not know. The
    margins of the first steps rest on few images.

    Shapes: levels from shallow to deep, (N, C_s, H_s, W_s) and (N, C_t, H_t, W_t), of equal size or
    one twice as large as the other. A batch of one needs maps of more than one position, as batch
    norm does.

    Args:
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> ofd=dict(type='OFDLoss', loss_weight=1e-3,
        ...          student=[f'backbone.layer{i}.2.relu@-1:input' for i in (1, 2, 3)],
        ...          teacher=[f'backbone.layer{i}.8.relu@-1:input' for i in (1, 2, 3)])
    """

    def build(self, student: Tapped, teacher: Tapped) -> None:
        self.connectors = match_maps('OFDLoss', student, teacher, norm=True)
        self.margin_relus = nn.ModuleList(MarginReLU(t.shape[1]) for t in as_list(teacher))

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        loss = 0.0
        levels = zip(self.connectors, self.margin_relus, paired(student, teacher), strict=True)
        for connector, margin_relu, (s, t) in levels:
            connected = connector(s)
            check_same_shape(connected, t, 'give images whose size both strides divide')
            loss = loss / 2 + partial_l2(connected, margin_relu(t))
        return self.loss_weight * loss

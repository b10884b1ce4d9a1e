"""Convolutions followed by attention over their output."""

from __future__ import annotations

from collections import OrderedDict

import torch
from mmpretrain.models.utils import SELayer, make_divisible
from torch import Tensor, nn

from mmkd.registry import MODELS


@MODELS.register_module()
class SEConv2d(nn.Sequential):
    """A convolution followed by squeeze and excitation.

    *Squeeze-and-Excitation Networks*, Hu et al., CVPR 2018; as a generator of teachers *Explicit
    Connection Distillation*, Table 7. That paper does not say where the layer stands; here it
    follows every chosen convolution.

    Args:
        conv (nn.Conv2d): The convolution to replace; kept as ``conv``.
        ratio (int): Channels over hidden channels, which are at least 8. Defaults to 16.

    Example:
        >>> teacher_generator=dict(type='SEConv2d', convs='backbone.layer?.*.conv?')
    """

    def __init__(self, conv: nn.Conv2d, ratio: int = 16) -> None:
        super().__init__(OrderedDict(conv=conv, attention=SELayer(conv.out_channels, ratio=ratio)))


class CBAM(nn.Module):
    r"""Attention over channels, then over positions.

    .. math:: y = x \, \sigma(m(\mathrm{avg}_{hw}\, x) + m(\mathrm{max}_{hw}\, x)), \qquad
              z = y \, \sigma(k * [\mathrm{avg}_c\, y, \mathrm{max}_c\, y])

    with m two linear layers with a ReLU between them and k a 7x7 convolution. *CBAM: Convolutional
    Block Attention Module*, Woo et al., ECCV 2018, section 3.

    Shapes: (N, C, H, W) to the same.

    Args:
        channels (int): C.
        ratio (int): C over the hidden channels of m, which are at least 8. Defaults to 16.
        kernel_size (int): Of k, odd. Defaults to 7.
    """

    def __init__(self, channels: int, ratio: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        hidden = make_divisible(channels // ratio, 8)
        self.channel = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        self.spatial = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.channel(x.mean(dim=(2, 3))) + self.channel(x.amax(dim=(2, 3)))
        y = x * scores.sigmoid()[:, :, None, None]
        pooled = torch.cat([y.mean(1, keepdim=True), y.amax(1, keepdim=True)], dim=1)
        return y * self.spatial(pooled).sigmoid()


@MODELS.register_module()
class CBAMConv2d(nn.Sequential):
    """A convolution followed by :class:`CBAM`.

    *Explicit Connection Distillation*, Table 7; see :class:`SEConv2d` on where it stands.

    Args:
        conv (nn.Conv2d): The convolution to replace; kept as ``conv``.
        kwargs: ``ratio`` and ``kernel_size`` of :class:`CBAM`.

    Example:
        >>> teacher_generator=dict(type='CBAMConv2d', convs='backbone.layer?.*.conv?')
    """

    def __init__(self, conv: nn.Conv2d, **kwargs: int) -> None:
        super().__init__(OrderedDict(conv=conv, attention=CBAM(conv.out_channels, **kwargs)))

"""DenseNet without bottlenecks for 32x32 images."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from mmpretrain.models.backbones.densenet import DenseTransition
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import StagedBackbone


class DenseLayer(nn.Module):
    """Concatenate the input and ``conv(relu(norm(input)))``.

    Args:
        in_channels (int): Channels of the input.
        growth_rate (int): Channels that are added.
        dropout (float): Probability of dropout after the convolution.
    """

    def __init__(self, in_channels: int, growth_rate: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(in_channels, growth_rate, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.dropout(self.conv(self.relu(self.norm(x))))], dim=1)


@MODELS.register_module()
class CIFARDenseNet(StagedBackbone):
    """DenseNet of depth 3n+4 and growth rate k, such as DenseNet-40-12, for 32x32 images.

    *Densely Connected Convolutional Networks*, Huang et al., CVPR 2017, section 4: three dense
    blocks without bottlenecks, transitions that keep the number of channels, 16 channels in the
    stem. mmpretrain's ``DenseNet`` is the ImageNet form with bottlenecks (DenseNet-BC).

    Taps: ``backbone.layer1`` .. ``backbone.layer3`` are the concatenated maps at the end of the
    dense blocks, which no norm or ReLU has seen; a stage after the first starts with its
    transition, ``backbone.layer2.transition``. The map before the last ReLU is
    ``backbone.tail.relu:input``; ``backbone.tail`` is what is pooled.

    Shapes, with C = 16 + nk: (N, 3, 32, 32) to (N, C, 32, 32), (N, C + nk, 16, 16),
    (N, C + 2nk, 8, 8), and the last again after the tail.

    Args:
        depth (int): 3n+4. Defaults to 40.
        growth_rate (int): k. Defaults to 12.
        dropout (float): Probability of dropout after each convolution of a dense block; the paper
            has 0.2 without data augmentation. Defaults to 0.
        kwargs: ``out_indices``, ``frozen_stages``, ``norm_eval``, ``init_cfg``, see
            :class:`~mmkd.models.backbones.base.StagedBackbone`; stage 3 is the tail.

    Raises:
        ValueError: If ``depth`` is not 3n+4.

    Example:
        >>> backbone=dict(type='mmkd.CIFARDenseNet', depth=40, growth_rate=12)
    """

    def __init__(
        self, depth: int = 40, growth_rate: int = 12, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        num_layers, rest = divmod(depth - 4, 3)
        if rest or num_layers < 1:
            raise ValueError(f'CIFARDenseNet: depth={depth}; expected 3n+4, such as 40 or 100')
        layers, channels = [], 16
        for stage in range(3):
            modules = OrderedDict()
            if stage > 0:
                modules['transition'] = DenseTransition(channels, channels)
            for i in range(1, num_layers + 1):
                modules[f'dense{i}'] = DenseLayer(channels, growth_rate, dropout)
                channels += growth_rate
            layers.append(nn.Sequential(modules))
        tail = OrderedDict(norm=nn.BatchNorm2d(channels), relu=nn.ReLU(inplace=True))
        stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        super().__init__(stem, layers, nn.Sequential(tail), **kwargs)

"""ShuffleNets for 32x32 images, in the layout of the CRD benchmark."""

from __future__ import annotations

from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmpretrain.models.backbones.shufflenet_v2 import InvertedResidual
from mmpretrain.models.utils import channel_shuffle
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import StagedBackbone

_NUM_BLOCKS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """Unit of ShuffleNetV1 as the benchmark has it.

    Unlike mmpretrain's unit it shuffles before the depthwise convolution, has a ReLU after that
    and after the concatenation, and counts the inner channels from the residual branch alone.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        groups (int): Groups of the 1x1 convolutions.
        first (bool): Whether the first 1x1 convolution is not grouped.
        stride (int): With 2 the pooled input is concatenated, with 1 the input is added.
    """

    def __init__(
        self, in_channels: int, out_channels: int, groups: int, first: bool, stride: int
    ) -> None:
        super().__init__()
        branch = out_channels - in_channels if stride == 2 else out_channels
        inner = branch // 4
        self.groups = 1 if first else groups
        norm_cfg = dict(type='BN')
        self.compress = ConvModule(in_channels, inner, 1, groups=self.groups, norm_cfg=norm_cfg)
        self.depthwise = ConvModule(
            inner, inner, 3, stride, padding=1, groups=inner, norm_cfg=norm_cfg
        )
        self.expand = ConvModule(inner, branch, 1, groups=groups, norm_cfg=norm_cfg, act_cfg=None)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.depthwise(channel_shuffle(self.compress(x), self.groups))
        out = self.expand(out)
        if self.pool is not None:
            return self.relu(torch.cat([out, self.pool(x)], dim=1))
        return self.relu(out + x)


@MODELS.register_module()
class CIFARShuffleNetV1(StagedBackbone):
    """ShuffleNetV1 for 32x32 images.

    *ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices*, Zhang et
    al., CVPR 2018, with 3 groups, in the layout of the benchmark of *Contrastive Representation
    Distillation*, Tian et al., ICLR 2020: a 1x1 stem without pooling.

    Taps: ``backbone.layer1`` .. ``backbone.layer3``; before the last ReLU of a stage
    ``backbone.layer1.3.relu:input``, ``backbone.layer2.7.relu:input`` and
    ``backbone.layer3.3.relu:input``.

    Shapes: (N, 3, 32, 32) to (N, 240, 16, 16), (N, 480, 8, 8), (N, 960, 4, 4).

    Args:
        kwargs: ``out_indices``, ``frozen_stages``, ``norm_eval``, ``init_cfg``, see
            :class:`~mmkd.models.backbones.base.StagedBackbone`.

    Example:
        >>> backbone=dict(type='mmkd.CIFARShuffleNetV1')
    """

    def __init__(self, **kwargs: Any) -> None:
        stem = ConvModule(3, 24, 1, norm_cfg=dict(type='BN'))
        layers, source = [], 24
        for stage, (num_blocks, width) in enumerate(zip(_NUM_BLOCKS, (240, 480, 960), strict=True)):
            units = []
            for block in range(num_blocks):
                first = stage == 0 and block == 0
                stride = 2 if block == 0 else 1
                units.append(ShuffleUnit(source, width, 3, first, stride))
                source = width
            layers.append(nn.Sequential(*units))
        super().__init__(stem, layers, **kwargs)


class ShuffleUnitV2(InvertedResidual):
    """Unit of ShuffleNetV2: mmpretrain's, with the last ReLUs as one behind the concatenation.

    Its output is the same, as what is not convolved comes out of a ReLU already, and so is its
    state dict; but ``relu`` has the whole map before the ReLU, kept half first, as its input.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        stride (int): With 2 the whole input is convolved by both branches, with 1 its second half
            by one. Defaults to 1.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, stride)
        for branch in (getattr(self, 'branch1', None), self.branch2):
            if branch is not None:
                branch[-1].activate = nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            halves = self.branch1(x), self.branch2(x)
        else:
            kept, convolved = x.chunk(2, dim=1)
            halves = kept, self.branch2(convolved)
        return channel_shuffle(self.relu(torch.cat(halves, dim=1)), 2)


@MODELS.register_module()
class CIFARShuffleNetV2(StagedBackbone):
    """ShuffleNetV2 1x for 32x32 images.

    *ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design*, Ma et al., ECCV
    2018, in the layout of the benchmark of *Contrastive Representation Distillation*, Tian et al.,
    ICLR 2020: a 1x1 stem without pooling.

    Taps: ``backbone.layer1`` .. ``backbone.layer3``; before the last ReLU of a stage
    ``backbone.layer1.3.relu:input``, ``backbone.layer2.7.relu:input`` and
    ``backbone.layer3.3.relu:input``, whose channels are not shuffled yet, as in the benchmark;
    ``backbone.tail`` is what is pooled, ``backbone.tail.activate:input`` is the map before its
    ReLU.

    Shapes: (N, 3, 32, 32) to (N, 116, 16, 16), (N, 232, 8, 8), (N, 464, 4, 4), (N, 1024, 4, 4).

    Args:
        kwargs: ``out_indices``, ``frozen_stages``, ``norm_eval``, ``init_cfg``, see
            :class:`~mmkd.models.backbones.base.StagedBackbone`; stage 3 is the tail.

    Example:
        >>> backbone=dict(type='mmkd.CIFARShuffleNetV2')
    """

    def __init__(self, **kwargs: Any) -> None:
        norm_cfg = dict(type='BN')
        stem = ConvModule(3, 24, 1, norm_cfg=norm_cfg)
        layers, source = [], 24
        for num_blocks, width in zip(_NUM_BLOCKS, (116, 232, 464), strict=True):
            blocks = [ShuffleUnitV2(source, width, stride=2)]
            blocks += [ShuffleUnitV2(width, width) for _ in range(num_blocks - 1)]
            layers.append(nn.Sequential(*blocks))
            source = width
        tail = ConvModule(source, 1024, 1, norm_cfg=norm_cfg)
        super().__init__(stem, layers, tail, **kwargs)

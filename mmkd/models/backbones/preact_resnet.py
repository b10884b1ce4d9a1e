"""Residual networks with pre-activation blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import StagedBackbone


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)


class PreActBlock(nn.Module):
    r"""Residual block with norm and ReLU before each convolution.

    .. math:: y = s(x) + F(\mathrm{relu}(\mathrm{norm}(x)))

    The shortcut s is x itself where the shape is kept, else a 1x1 convolution of the activated
    input.

    Args:
        channels (sequence of int): Channels of the input and after each convolution.
        kernel_sizes (sequence of int): Of the convolutions.
        stride (int): Of the first 3x3 convolution. Defaults to 1.
        dropout (float): Probability of dropout before the last convolution. Defaults to 0.
    """

    def __init__(
        self,
        channels: Sequence[int],
        kernel_sizes: Sequence[int],
        stride: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels[0])
        self.relu1 = nn.ReLU(inplace=True)
        self.shortcut = None
        if stride != 1 or channels[0] != channels[-1]:
            self.shortcut = _conv(channels[0], channels[-1], 1, stride)
        residual = OrderedDict()
        strided = kernel_sizes.index(3)
        for i, kernel_size in enumerate(kernel_sizes):
            if i > 0:
                residual[f'norm{i + 1}'] = nn.BatchNorm2d(channels[i])
                residual[f'relu{i + 1}'] = nn.ReLU(inplace=True)
            if dropout > 0 and i == len(kernel_sizes) - 1:
                residual['dropout'] = nn.Dropout(dropout)
            residual[f'conv{i + 1}'] = _conv(
                channels[i], channels[i + 1], kernel_size, stride if i == strided else 1
            )
        self.residual = nn.Sequential(residual)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu1(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        return shortcut + self.residual(activated)


class PreActStages(StagedBackbone):
    """Three stages of pre-activation blocks for 32x32 images, with a final norm and ReLU.

    Args:
        num_blocks (int): Blocks of each stage.
        channels (sequence of int): Channels after the stem and after each stage.
        kernel_sizes (sequence of int): Of a block's convolutions.
        expansion (int): Channels after a block over those inside it.
        dropout (float): Of a block.
        kwargs: Arguments of :class:`StagedBackbone`.
    """

    def __init__(
        self,
        num_blocks: int,
        channels: Sequence[int],
        kernel_sizes: Sequence[int],
        expansion: int = 1,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        layers = []
        for stage, width in enumerate(channels[1:]):
            blocks = []
            for block in range(num_blocks):
                source = channels[stage] if block == 0 else width
                inner = [width // expansion] * (len(kernel_sizes) - 1)
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(PreActBlock([source, *inner, width], kernel_sizes, stride, dropout))
            layers.append(nn.Sequential(*blocks))
        tail = OrderedDict(norm=nn.BatchNorm2d(channels[-1]), relu=nn.ReLU(inplace=True))
        super().__init__(_conv(3, channels[0], 3), layers, nn.Sequential(tail), **kwargs)


@MODELS.register_module()
class PreActResNet(PreActStages):
    """Pre-activation bottleneck ResNet of depth 9n+2, such as ResNet-164, for 32x32 images.

    *Identity Mappings in Deep Residual Networks*, He et al., ECCV 2016. The stem has 16 channels,
    the stages have 64, 128 and 256. The first block of a stage uses its activated input on both
    paths.

    Taps: ``backbone.layer1`` .. ``backbone.layer3`` are the raw maps, the sums that no ReLU has
    seen. The map after the next norm, before its ReLU, is ``backbone.layer2.0.relu1:input`` for
    stage 1, ``backbone.layer3.0.relu1:input`` for stage 2 and ``backbone.tail.relu:input`` for
    stage 3; ``backbone.tail`` is what is pooled.

    Shapes: (N, 3, 32, 32) to (N, 64, 32, 32), (N, 128, 16, 16), (N, 256, 8, 8), and the last
    again after the tail.

    Args:
        depth (int): 9n+2, such as 29, 47, 56, 110, 164.
        kwargs: ``out_indices``, ``frozen_stages``, ``norm_eval``, ``init_cfg``, see
            :class:`~mmkd.models.backbones.base.StagedBackbone`; stage 3 is the tail.

    Raises:
        ValueError: If ``depth`` is not 9n+2.

    Example:
        >>> backbone=dict(type='mmkd.PreActResNet', depth=164)
    """

    def __init__(self, depth: int, **kwargs: Any) -> None:
        num_blocks, rest = divmod(depth - 2, 9)
        if rest or num_blocks < 1:
            raise ValueError(f'PreActResNet: depth={depth}; expected 9n+2, such as 110 or 164')
        super().__init__(num_blocks, (16, 64, 128, 256), (1, 3, 1), expansion=4, **kwargs)

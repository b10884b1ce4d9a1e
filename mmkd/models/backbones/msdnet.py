"""Multi-scale dense network."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import StagedBackbone

#: Channels of scale s over those of the finest, and of a bottleneck over its output.
_FACTORS = (1, 2, 4)


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> ConvModule:
    padding = kernel_size // 2
    norm_cfg = dict(type='BN')
    return ConvModule(
        in_channels, out_channels, kernel_size, stride, padding=padding, norm_cfg=norm_cfg
    )


def _bottleneck(width: int, scale: int, out_channels: int, stride: int) -> nn.Sequential:
    """1x1 and 3x3 convolution of the map of ``scale`` in a layer of ``width``."""
    in_channels = width * _FACTORS[scale]
    inner = min(in_channels, _FACTORS[scale] * out_channels)
    return nn.Sequential(_conv(in_channels, inner, 1), _conv(inner, out_channels, 3, stride))


class FirstLayer(nn.Module):
    """Maps of all scales from the image, each from the next finer one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [width * factor for factor in _FACTORS]
        self.convs = nn.ModuleList([_conv(3, channels[0], 3)])
        for source, target in zip(channels, channels[1:], strict=False):
            self.convs.append(_conv(source, target, 3, stride=2))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for conv in self.convs:
            x = conv(x)
            maps.append(x)
        return maps


class MSDLayer(nn.Module):
    """Grow the map of each scale from itself and from the next finer map.

    Args:
        width (int): Channels of the input at the finest scale of the network, whether the layer
            has that scale or not.
        growth_rate (int): What the width grows by.
        finest_in (int): Finest scale of the input, 0 being the image's.
        finest_out (int): Finest scale of the output; the finer maps of the input are dropped.
    """

    def __init__(self, width: int, growth_rate: int, finest_in: int, finest_out: int) -> None:
        super().__init__()
        self.dropped = finest_out - finest_in
        self.same, self.finer = nn.ModuleList(), nn.ModuleList()
        for scale in range(finest_out, len(_FACTORS)):
            grown = growth_rate * _FACTORS[scale]
            if scale > finest_in:
                grown //= 2
                self.finer.append(_bottleneck(width, scale - 1, grown, stride=2))
            self.same.append(_bottleneck(width, scale, grown, stride=1))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        outs = []
        for i, (x, same) in enumerate(zip(maps[self.dropped :], self.same, strict=True)):
            parts = [x]
            # The place of the next finer map, which the finest scale of the network has not.
            finer = i + self.dropped - 1
            if finer >= 0:
                parts.append(self.finer[finer](maps[finer]))
            outs.append(torch.cat([*parts, same(x)], dim=1))
        return outs


class Transition(nn.Module):
    """Reduce the channels of each map to those of ``out_width``."""

    def __init__(self, width: int, out_width: int, finest: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            _conv(width * factor, out_width * factor, 1) for factor in _FACTORS[finest:]
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [conv(x) for conv, x in zip(self.convs, maps, strict=True)]


@MODELS.register_module()
class MSDNet(StagedBackbone):
    """Multi-scale dense network for 32x32 images, with an exit after each stage.

    *Multi-Scale Dense Networks for Resource Efficient Image Classification*, Huang et al., ICLR
    2018, appendix A, CIFAR: 3 scales with channels in proportion 1, 2, 4, bottlenecks, growth rate
    6, 4 layers before the first exit and 2 before each further one. The layers are split into 3
    parts; a part after the first drops the finest scale and halves the channels. With 4 exits it is
    the network of *Rethinking Online Knowledge Distillation with Multi-Exits*, Lee and Lee, ACCV
    2022, supplement A.1.

    An exit halves the coarsest map twice with 128 channels; pooling and a linear layer on it are
    its classifier. The network returns the maps of the exits in ``out_indices``, and a plain
    classification head uses the last.

    Taps: ``backbone.exit1`` .. ``backbone.exit4``; before their last ReLU
    ``backbone.exit1.1.activate:input``. ``backbone.layer1`` .. ``backbone.layer4`` are lists of
    maps, the finest first: ``backbone.layer1[2]`` is the coarsest of three.

    Shapes: (N, 3, 32, 32) to (N, 128, 2, 2) for each exit.

    Args:
        num_exits (int): Defaults to 4.
        out_indices (sequence of int, optional): Exits to build, counted from 0. Defaults to all.
        kwargs: ``frozen_stages``, ``norm_eval``, ``init_cfg``, see
            :class:`~mmkd.models.backbones.base.StagedBackbone`; a stage is frozen without its exit.

    Raises:
        ValueError: If ``num_exits`` is not positive.

    Example:
        >>> backbone=dict(type='mmkd.MSDNet', num_exits=4)
    """

    width, growth_rate, first_step, step, exit_channels = 16, 6, 4, 2, 128

    def __init__(
        self, num_exits: int = 4, out_indices: tuple[int, ...] | None = None, **kwargs: Any
    ) -> None:
        if num_exits < 1:
            raise ValueError(f'MSDNet: num_exits={num_exits}; expected at least 1')
        width, num_scales = self.width, len(_FACTORS)
        exits_at = [self.first_step + self.step * i for i in range(num_exits)]
        part = math.ceil(exits_at[-1] / num_scales)
        stages: list[list[nn.Module]] = [[]]
        exits, finest = [], 0
        for depth in range(1, exits_at[-1] + 1):
            finest_out = (depth - 1) // part
            stages[-1].append(MSDLayer(width, self.growth_rate, finest, finest_out))
            width += self.growth_rate
            if finest_out > finest:
                stages[-1].append(Transition(width, width // 2, finest_out))
                width //= 2
            finest = finest_out
            if depth in exits_at:
                channels = width * _FACTORS[-1]
                first = _conv(channels, self.exit_channels, 3, stride=2)
                second = _conv(self.exit_channels, self.exit_channels, 3, stride=2)
                exits.append(nn.Sequential(first, second))
                stages.append([])
        layers = [nn.Sequential(*modules) for modules in stages[:-1]]
        out_indices = range(num_exits) if out_indices is None else out_indices
        super().__init__(FirstLayer(self.width), layers, out_indices=out_indices, **kwargs)
        for i in self.out_indices:
            self.add_module(f'exit{i + 1}', exits[i])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of the exits in ``out_indices``."""
        maps = self.stem(x)
        outs = []
        for i, stage in enumerate(self.stages):
            maps = getattr(self, stage)(maps)
            if i in self.out_indices:
                outs.append(getattr(self, f'exit{i + 1}')(maps[-1]))
        return tuple(outs)

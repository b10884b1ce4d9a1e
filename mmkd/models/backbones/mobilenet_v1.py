"""MobileNetV1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from torch import nn

from mmkd.registry import MODELS

from .base import StagedBackbone


@MODELS.register_module()
class MobileNetV1(StagedBackbone):
    """MobileNet of depthwise separable convolutions.

    *MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications*, Howard et
    al., 2017, Table 1. For 32x32 images *Knowledge Transfer via Dense Cross-Layer
    Mutual-Distillation*, Yao and Sun, ECCV 2020, has ``stem_stride=1, strides=(1, 1, 1, 2, 2)``;
    its auxiliary classifiers start at ``layer3`` and ``layer4``.

    Taps: ``backbone.layer1`` .. ``backbone.layer5``; before the last ReLU of a stage
    ``backbone.layer1.N.pointwise_conv.activate:input``, where N is the last block's index (0, 1, 1,
    5, 1).

    Shapes: (N, 3, 224, 224) to (N, 64, 112, 112), (N, 128, 56, 56), (N, 256, 28, 28),
    (N, 512, 14, 14), (N, 1024, 7, 7).

    Args:
        stem_stride (int): Defaults to 2.
        strides (sequence of int): Stride of each stage's first block. Defaults to (1, 2, 2, 2, 2).
        kwargs: ``out_indices``, ``frozen_stages``, ``norm_eval``, ``init_cfg``, see
            :class:`~mmkd.models.backbones.base.StagedBackbone`.

    Raises:
        ValueError: If ``strides`` has not one number for each of the five stages.

    Example:
        >>> backbone=dict(type='mmkd.MobileNetV1', stem_stride=1, strides=(1, 1, 1, 2, 2))
    """

    #: Channels and blocks of each stage.
    arch_settings = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))

    def __init__(
        self, stem_stride: int = 2, strides: Sequence[int] = (1, 2, 2, 2, 2), **kwargs: Any
    ) -> None:
        if len(strides) != len(self.arch_settings):
            raise ValueError(
                f'MobileNetV1: strides={tuple(strides)}; expected {len(self.arch_settings)} '
                'numbers, one for each stage'
            )
        style = dict(padding=1, norm_cfg=dict(type='BN'))
        layers, source = [], 32
        for (width, num_blocks), stride in zip(self.arch_settings, strides, strict=True):
            blocks = []
            for block in range(num_blocks):
                block_stride = stride if block == 0 else 1
                blocks.append(DepthwiseSeparableConvModule(source, width, 3, block_stride, **style))
                source = width
            layers.append(nn.Sequential(*blocks))
        super().__init__(ConvModule(3, 32, 3, stem_stride, **style), layers, **kwargs)

"""MobileNetV2 for 32x32 images."""

from __future__ import annotations

from typing import Any

from mmcv.cnn import ConvModule
from mmpretrain.models.backbones.mobilenet_v2 import InvertedResidual
from torch import nn

from mmkd.registry import MODELS

from .base import StagedBackbone


@MODELS.register_module()
class CIFARMobileNetV2(StagedBackbone):
    """MobileNetV2 for 32x32 images.

    *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, Sandler et al., CVPR 2018, with
    stride 1 instead of 2 in the second stage. The defaults are the layout of the benchmark of
    *Contrastive Representation Distillation*, Tian et al., ICLR 2020: ReLU, widths that are not
    rounded to multiples of 8, and a 1x1 convolution also in the first block, which expands nothing.
    Exit networks (*Rethinking Online Knowledge Distillation with Multi-Exits*, Lee and Lee, ACCV
    2022, Fig. 1) have ``stem_stride=1``.

    Taps: ``backbone.layer1`` .. ``backbone.layer7`` are linear bottlenecks, which no ReLU follows,
    and the map before the last ReLU is ``backbone.tail.activate:input``; ``backbone.tail`` is what
    is pooled. The benchmark distills stages 2, 3, 5 and 7.

    Shapes: (N, 3, 32, 32) to sides 16, 16, 8, 4, 4, 2, 2 and 2 (tail), or 32, 32, 16, 8, 8, 4, 4
    and 4 with ``stem_stride=1``.

    Args:
        widen_factor (float): Factor of the channels; the tail has at least 1280. Defaults to 1.
        stem_stride (int): Defaults to 2.
        act_cfg (dict): Defaults to ``dict(type='ReLU')``.
        kwargs: ``out_indices``, ``frozen_stages``, ``norm_eval``, ``init_cfg``, see
            :class:`~mmkd.models.backbones.base.StagedBackbone`; stage 7 is the tail.

    Example:
        >>> backbone=dict(type='mmkd.CIFARMobileNetV2', widen_factor=0.5)
    """

    #: Expansion, channels, blocks and stride of each stage.
    arch_settings = (
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    def __init__(
        self,
        widen_factor: float = 1.0,
        stem_stride: int = 2,
        act_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        style = dict(norm_cfg=dict(type='BN'), act_cfg=act_cfg or dict(type='ReLU'))
        source = int(32 * widen_factor)
        stem = ConvModule(3, source, 3, stem_stride, padding=1, **style)
        layers = []
        for expansion, channels, num_blocks, stride in self.arch_settings:
            width = int(channels * widen_factor)
            modules = []
            if expansion == 1:
                # mmpretrain's block leaves a 1x1 convolution that does not expand out.
                modules.append(ConvModule(source, source, 1, **style))
            for block in range(num_blocks):
                block_stride = stride if block == 0 else 1
                modules.append(InvertedResidual(source, width, block_stride, expansion, **style))
                source = width
            layers.append(nn.Sequential(*modules))
        tail = ConvModule(source, int(1280 * max(widen_factor, 1)), 1, **style)
        super().__init__(stem, layers, tail, **kwargs)

"""VGG networks for 32x32 images."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

from mmkd.registry import MODELS

from .base import StagedBackbone


@MODELS.register_module()
class CIFARVGG(StagedBackbone):
    """VGG with batch norm for 32x32 images, without the hidden fully connected layers.

    *Very Deep Convolutional Networks for Large-Scale Image Recognition*, Simonyan and Zisserman,
    ICLR 2015, in the layout of the benchmark of *Contrastive Representation Distillation*, Tian
    et al., ICLR 2020: the maps are halved before stages 2, 3 and 4, and stage 5 keeps the size.
    VGG-8 has one convolution in each stage.

    Taps: ``backbone.layer1`` .. ``backbone.layer5``; before the last ReLU of a stage
    ``backbone.layer2.reluN:input``, where N is the number of the stage's convolutions.

    Shapes: (N, 3, 32, 32) to (N, 64, 32, 32), (N, 128, 16, 16), (N, 256, 8, 8), (N, 512, 4, 4),
    (N, 512, 4, 4).

    Args:
        depth (int): 8, 11, 13, 16 or 19.
        kwargs: ``out_indices``, ``frozen_stages``, ``norm_eval``, ``init_cfg``, see
            :class:`~mmkd.models.backbones.base.StagedBackbone`.

    Raises:
        ValueError: If there is no VGG of this depth.

    Example:
        >>> backbone=dict(type='mmkd.CIFARVGG', depth=8)
    """

    arch_settings = {
        8: (1, 1, 1, 1, 1),
        11: (1, 1, 2, 2, 2),
        13: (2, 2, 2, 2, 2),
        16: (2, 2, 3, 3, 3),
        19: (2, 2, 4, 4, 4),
    }

    def __init__(self, depth: int, **kwargs: Any) -> None:
        if depth not in self.arch_settings:
            raise ValueError(f'CIFARVGG: depth={depth}; expected one of {list(self.arch_settings)}')
        layers, source = [], 3
        for stage, num_convs in enumerate(self.arch_settings[depth]):
            width = min(64 * 2**stage, 512)
            modules = OrderedDict()
            if stage in (1, 2, 3):
                modules['pool'] = nn.MaxPool2d(2)
            for i in range(1, num_convs + 1):
                # The benchmark's convolutions have a bias in spite of the norm.
                modules[f'conv{i}'] = nn.Conv2d(source, width, 3, padding=1)
                modules[f'norm{i}'] = nn.BatchNorm2d(width)
                modules[f'relu{i}'] = nn.ReLU(inplace=True)
                source = width
            layers.append(nn.Sequential(modules))
        super().__init__(nn.Identity(), layers, **kwargs)

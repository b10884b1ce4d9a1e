"""Residual networks for 32x32 images."""

from __future__ import annotations

from typing import Any

from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock
from torch import nn

from mmkd.registry import MODELS


@MODELS.register_module()
class BareStemResNet(ResNet_CIFAR):
    """mmpretrain's ``ResNet_CIFAR`` without the ReLU between the stem's norm and the first stage.

    The ResNet of the code of *Rethinking Online Knowledge Distillation with Multi-Exits*, Lee and
    Lee, ACCV 2022 (hjdw2/BEED), whose text does not mention it.

    Args:
        args, kwargs: Those of ``ResNet_CIFAR``.

    Example:
        >>> backbone=dict(type='mmkd.BareStemResNet', depth=18, zero_init_residual=False)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.relu = nn.Identity()


@MODELS.register_module()
class CIFARResNet(ResNet_CIFAR):
    """ResNet of depth 6n+2 with three stages of n basic blocks, for 32x32 images.

    *Deep Residual Learning for Image Recognition*, He et al., CVPR 2016, section 4.2, with a 1x1
    convolution on the shortcut where the shape changes (option B), as in the benchmark of
    *Contrastive Representation Distillation*, Tian et al., ICLR 2020. mmpretrain's ``ResNet_CIFAR``
    is the other family: the four stages of an ImageNet ResNet behind a 3x3 stem.

    The stages have ``base_channels`` times 1, 2, 4 channels. ResNet-8x4 and ResNet-32x4 have
    ``stem_channels=32, base_channels=64``.

    Taps: ``backbone.layer1`` .. ``backbone.layer3``; before the last ReLU of a stage
    ``backbone.layer1.N.relu@-1:input``, where N is the last block's index, n-1.

    Shapes: (N, 3, 32, 32) to (N, C, 32, 32), (N, 2C, 16, 16), (N, 4C, 8, 8).

    Args:
        depth (int): 6n+2, such as 8, 14, 20, 32, 44, 56, 110.
        stem_channels (int): Defaults to 16.
        base_channels (int): Channels of the first stage. Defaults to 16.
        out_indices (sequence of int): Stages to return, counted from 0. Defaults to (2,).
        zero_init_residual (bool): Whether the last norm of a block starts at 0. Defaults to False.
        kwargs: Other arguments of mmpretrain's ``ResNet``: ``frozen_stages``, ``norm_eval``, ...

    Raises:
        ValueError: If ``depth`` is not 6n+2, or ``out_indices`` names a stage that there is not.

    Example:
        >>> backbone=dict(type='mmkd.CIFARResNet', depth=20)
    """

    arch_settings = {6 * n + 2: (BasicBlock, (n, n, n)) for n in range(1, 201)}

    def __init__(
        self,
        depth: int,
        stem_channels: int = 16,
        base_channels: int = 16,
        out_indices: tuple[int, ...] = (2,),
        zero_init_residual: bool = False,
        **kwargs: Any,
    ) -> None:
        if depth not in self.arch_settings:
            raise ValueError(
                f'CIFARResNet: depth={depth}; expected 6n+2, such as 20, 32, 44, 56 or 110'
            )
        if not out_indices or not all(0 <= i < 3 for i in out_indices):
            raise ValueError(
                f'CIFARResNet: out_indices={tuple(out_indices)}; expected numbers from 0 to 2'
            )
        super().__init__(
            depth,
            stem_channels=stem_channels,
            base_channels=base_channels,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=out_indices,
            zero_init_residual=zero_init_residual,
            **kwargs,
        )

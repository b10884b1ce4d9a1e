"""Auxiliary classifiers made of stages of the network that they start in.

*Knowledge Transfer via Dense Cross-Layer Mutual-Distillation*, Yao and Sun, ECCV 2020, supplement,
section 2: the same blocks as the network, fewer of them, and as many down-samplings on the path to
every classifier. The tables of the supplement are ``configs/dcm``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmpretrain.models.backbones.densenet import DenseTransition
from mmpretrain.models.backbones.mobilenet_v2 import InvertedResidual
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck, ResLayer
from torch import nn

from mmkd.models.backbones.base import HE_INIT
from mmkd.models.backbones.densenet_cifar import DenseLayer
from mmkd.models.backbones.preact_resnet import PreActBlock
from mmkd.registry import MODELS

from .base import Exit

#: As the backbones and mmpretrain's linear head.
_INIT = [*HE_INIT, dict(type='Normal', layer=['Linear'], std=0.01)]

Rows = Sequence[Sequence[int]]


def _check(name: str, stages: Rows, columns: str) -> None:
    count = columns.count(',') + 1
    if not stages or not all(isinstance(r, Sequence) and len(r) == count for r in stages):
        raise ValueError(f'{name}: stages={stages}; expected rows of ({columns})')


@MODELS.register_module()
class ResNetExit(Exit):
    """Stages of residual blocks, for ``CIFARResNet`` and mmpretrain's ``ResNet``.

    DCM supplement, Tables 1 (ResNet-110) and 5.

    Args:
        in_channels (int): Channels of the tapped map.
        num_classes (int): Number of classes.
        stages (sequence of tuple[int]): Channels, blocks and stride of each.
        bottleneck (bool): Whether blocks are bottlenecks, whose 3x3 convolution has a quarter of
            the channels. Defaults to False.

    Raises:
        ValueError: If ``stages`` has not three numbers a row.

    Example:
        >>> exits=[dict(tap='backbone.layer2', type='mmkd.ResNetExit', in_channels=128,
        ...             stages=[(256, 1, 2), (512, 2, 2)])]
    """

    def __init__(
        self, in_channels: int, num_classes: int, stages: Rows, bottleneck: bool = False
    ) -> None:
        _check('ResNetExit', stages, 'channels, blocks, stride')
        block, layers = Bottleneck if bottleneck else BasicBlock, []
        for channels, num_blocks, stride in stages:
            layers.append(ResLayer(block, num_blocks, in_channels, channels, stride=stride))
            in_channels = channels
        super().__init__(nn.Sequential(*layers), in_channels, num_classes, _INIT)


@MODELS.register_module()
class PreActExit(Exit):
    """Stages of pre-activation blocks, for ``PreActResNet`` and ``WideResNet``.

    DCM supplement, Tables 1 (ResNet-164) and 3. The channels of Table 1 are those after a block; as
    in the network, its inner convolutions have a quarter.

    Args:
        in_channels (int): Channels of the tapped map, the raw sum.
        num_classes (int): Number of classes.
        stages (sequence of tuple[int]): Channels, blocks and stride of each.
        bottleneck (bool): Whether blocks are bottlenecks. Defaults to False.
        dropout (float): Of a block, as in the network. Defaults to 0.

    Raises:
        ValueError: If ``stages`` has not three numbers a row.

    Example:
        >>> exits=[dict(tap='backbone.layer1', type='mmkd.PreActExit', in_channels=160,
        ...             stages=[(320, 4, 2), (640, 2, 2)])]
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        stages: Rows,
        bottleneck: bool = False,
        dropout: float = 0.0,
    ) -> None:
        _check('PreActExit', stages, 'channels, blocks, stride')
        kernels, expansion = ((1, 3, 1), 4) if bottleneck else ((3, 3), 1)
        layers = OrderedDict()
        for index, (channels, num_blocks, stride) in enumerate(stages, 1):
            inner = [channels // expansion] * (len(kernels) - 1)
            blocks = []
            for block in range(num_blocks):
                widths = [in_channels, *inner, channels]
                blocks.append(PreActBlock(widths, kernels, 1 if block else stride, dropout))
                in_channels = channels
            layers[f'layer{index}'] = nn.Sequential(*blocks)
        layers.update(norm=nn.BatchNorm2d(in_channels), relu=nn.ReLU(inplace=True))
        super().__init__(nn.Sequential(layers), in_channels, num_classes, _INIT)


@MODELS.register_module()
class DenseNetExit(Exit):
    """Transitions and dense blocks, for ``CIFARDenseNet``.

    DCM supplement, Table 2. Every dense block follows a transition, which keeps the channels and
    halves height and width.

    Args:
        in_channels (int): Channels of the tapped map.
        num_classes (int): Number of classes.
        stages (sequence of tuple[int]): Growth rate and layers of each dense block.
        dropout (float): Of a layer, as in the network. Defaults to 0.

    Raises:
        ValueError: If ``stages`` has not two numbers a row.

    Example:
        >>> exits=[dict(tap='backbone.layer1', type='mmkd.DenseNetExit', in_channels=160,
        ...             stages=[(12, 12), (12, 6)])]
    """

    def __init__(
        self, in_channels: int, num_classes: int, stages: Rows, dropout: float = 0.0
    ) -> None:
        _check('DenseNetExit', stages, 'growth rate, layers')
        layers = OrderedDict()
        for index, (growth_rate, num_layers) in enumerate(stages, 1):
            modules = [DenseTransition(in_channels, in_channels)]
            for _ in range(num_layers):
                modules.append(DenseLayer(in_channels, growth_rate, dropout))
                in_channels += growth_rate
            layers[f'layer{index}'] = nn.Sequential(*modules)
        layers.update(norm=nn.BatchNorm2d(in_channels), relu=nn.ReLU(inplace=True))
        super().__init__(nn.Sequential(layers), in_channels, num_classes, _INIT)


@MODELS.register_module()
class MobileNetV1Exit(Exit):
    """Stages of depthwise separable convolutions, for ``MobileNetV1``.

    DCM supplement, Table 4.

    Args:
        in_channels (int): Channels of the tapped map.
        num_classes (int): Number of classes.
        stages (sequence of tuple[int]): Channels, blocks and stride of each.

    Raises:
        ValueError: If ``stages`` has not three numbers a row.

    Example:
        >>> exits=[dict(tap='backbone.layer3', type='mmkd.MobileNetV1Exit', in_channels=256,
        ...             stages=[(512, 6, 2), (1024, 2, 2)])]
    """

    def __init__(self, in_channels: int, num_classes: int, stages: Rows) -> None:
        _check('MobileNetV1Exit', stages, 'channels, blocks, stride')
        style, layers = dict(padding=1, norm_cfg=dict(type='BN')), []
        for channels, num_blocks, stride in stages:
            for block in range(num_blocks):
                step = 1 if block else stride
                layers.append(DepthwiseSeparableConvModule(in_channels, channels, 3, step, **style))
                in_channels = channels
        super().__init__(nn.Sequential(*layers), in_channels, num_classes, _INIT)


@MODELS.register_module()
class MobileNetV2Exit(Exit):
    """Stages of inverted residuals and a 1x1 convolution, for mmpretrain's ``MobileNetV2``.

    DCM supplement, Table 6.

    Args:
        in_channels (int): Channels of the tapped map.
        num_classes (int): Number of classes.
        stages (sequence of tuple[int]): Expansion t, channels c, blocks n and stride s of each.
        out_channels (int): Channels of the last 1x1 convolution.

    Raises:
        ValueError: If ``stages`` has not four numbers a row.

    Example:
        >>> exits=[dict(tap='backbone.layer6', type='mmkd.MobileNetV2Exit', in_channels=160,
        ...             stages=[(6, 480, 1, 1)], out_channels=1920)]
    """

    def __init__(self, in_channels: int, num_classes: int, stages: Rows, out_channels: int) -> None:
        _check('MobileNetV2Exit', stages, 'expansion, channels, blocks, stride')
        layers = []
        for expansion, channels, num_blocks, stride in stages:
            for block in range(num_blocks):
                step = 1 if block else stride
                layers.append(InvertedResidual(in_channels, channels, step, expansion))
                in_channels = channels
        style = dict(norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU6'))
        layers.append(ConvModule(in_channels, out_channels, 1, **style))
        super().__init__(nn.Sequential(*layers), out_channels, num_classes, _INIT)


@MODELS.register_module()
class APFCExit(Exit):
    """Average pooling to 4x4 and a linear classifier.

    DCM supplement, section 2.2, where it is compared with stages of blocks.

    Args:
        in_channels (int): Channels of the tapped map.
        num_classes (int): Number of classes.

    Example:
        >>> exits=[dict(tap='backbone.layer1', type='mmkd.APFCExit', in_channels=160)]
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        layers = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
        super().__init__(layers, 16 * in_channels, num_classes, _INIT)

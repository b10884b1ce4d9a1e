"""The exits of multi-exit networks: bottleneck, BYOT, TOFD, LCT, linear, tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmkd.models.backbones.base import HE_INIT
from mmkd.registry import MODELS

from .base import Exit


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> ConvModule:
    padding = kernel_size // 2
    norm_cfg = dict(type='BN')
    return ConvModule(
        in_channels, out_channels, kernel_size, stride, padding=padding, norm_cfg=norm_cfg
    )


class ChainExit(Exit):
    """A chain of blocks of one kind; a subclass says which.

    Args:
        in_channels (int): Channels of the tapped map.
        channels (sequence of int): Channels of each block's output.
        num_classes (int): Number of classes.
        strides (sequence of int, optional): Stride of each block. Defaults to 2 each.
        init_cfg (dict or list, optional): Defaults to He initialisation, as the main networks have.

    Raises:
        ValueError: If there is no block, or not one stride for each.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        num_classes: int,
        strides: Sequence[int] | None = None,
        init_cfg: dict | Sequence[dict] | None = HE_INIT,
    ) -> None:
        strides = [2] * len(channels) if strides is None else strides
        if not channels or len(strides) != len(channels):
            raise ValueError(
                f'{type(self).__name__}: channels={tuple(channels)} and strides={tuple(strides)}; '
                'give at least one block, and as many strides as channels'
            )
        sources = [in_channels, *channels]
        layers = nn.Sequential(*map(self.block, sources, channels, strides))
        init_cfg = list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg
        super().__init__(layers, channels[-1], num_classes, init_cfg)

    @staticmethod
    def block(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        """One block of the chain."""
        raise NotImplementedError


@MODELS.register_module()
class BottleneckExit(ChainExit):
    """Bottleneck blocks without expansion and without shortcut.

    A block is a 1x1, a 3x3 (with the stride) and a 1x1 convolution of the same channels, each
    followed by batch norm and ReLU. *Rethinking Online Knowledge Distillation with Multi-Exits*,
    Lee and Lee, ACCV 2022: the proposed structure; channels and strides in supplement Fig. 1.

    Args: see :class:`ChainExit`.

    Example:
        >>> exits=[dict(tap='backbone.layer1', type='mmkd.BottleneckExit', in_channels=64,
        ...             channels=(128, 256, 512)), ...]
    """

    @staticmethod
    def block(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        return nn.Sequential(
            _conv(in_channels, out_channels, 1),
            _conv(out_channels, out_channels, 3, stride),
            _conv(out_channels, out_channels, 1),
        )


@MODELS.register_module()
class BYOTExit(ChainExit):
    """One bottleneck whose middle convolution makes the whole reduction.

    A block is a 1x1 convolution to a quarter of the output's channels, a convolution whose kernel
    is as large as its stride, and a 1x1 convolution, each followed by batch norm and ReLU. An exit
    is one block, with the stride that is left to the network's last map. *Be Your Own Teacher:
    Improve the Performance of Convolutional Neural Networks via Self Distillation*, Zhang et al.,
    ICCV 2019, section 3.1; kernel sizes and widths as in its public reimplementation
    (luanyunteng/pytorch-be-your-own-teacher).

    Args:
        in_channels (int): Channels of the tapped map.
        channels (sequence of int): As in the other structures, one entry a halving: the block has
            the last one's channels, and a stride of 2 for each.
        num_classes (int): Number of classes.

    Example:
        >>> exits=[dict(tap='backbone.layer1', type='mmkd.BYOTExit', in_channels=64,
        ...             channels=(128, 256, 512)), ...]
    """

    def __init__(self, in_channels: int, channels: Sequence[int], num_classes: int) -> None:
        super().__init__(in_channels, channels[-1:], num_classes, [2 ** len(channels)])

    @staticmethod
    def block(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        width, norm_cfg = out_channels // 4, dict(type='BN')
        return nn.Sequential(
            _conv(in_channels, width, 1),
            ConvModule(width, width, stride, stride, norm_cfg=norm_cfg),
            _conv(width, out_channels, 1),
        )


@MODELS.register_module()
class TOFDExit(ChainExit):
    """Pairs of depthwise separable convolutions.

    A block is a depthwise 3x3 (with the stride) and a 1x1 convolution of the input's channels,
    batch norm, ReLU, and once more with stride 1 to the output's channels. *Task-Oriented Feature
    Distillation*, Zhang et al., NeurIPS 2020: the auxiliary classifiers of the authors' code.

    Args: see :class:`ChainExit`.

    Example:
        >>> exits=[dict(tap='backbone.layer1', type='mmkd.TOFDExit', in_channels=64,
        ...             channels=(128, 256, 512)), ...]
    """

    @staticmethod
    def block(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        def depthwise(stride: int) -> nn.Conv2d:
            return nn.Conv2d(
                in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False
            )

        return nn.Sequential(
            depthwise(stride),
            _conv(in_channels, in_channels, 1),
            depthwise(1),
            _conv(in_channels, out_channels, 1),
        )


@MODELS.register_module()
class LCTExit(ChainExit):
    """3x3 convolutions, each followed by batch norm and ReLU.

    Local critics are single convolutions before a linear layer (*Local Critic Training for
    Model-Parallel Learning of Deep Neural Networks*, Lee et al., TNNLS 2022). As exits they halve
    the map until it is as small as the network's last, one convolution each time, as in the code of
    *Students are the Best Teacher: Exit-Ensemble Distillation with Multi-Exits*, Lee and Lee, 2021.

    Args: see :class:`ChainExit`.

    Example:
        >>> exits=[dict(tap='backbone.layer1', type='mmkd.LCTExit', in_channels=64,
        ...             channels=(128, 256, 512)), ...]
    """

    @staticmethod
    def block(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        return _conv(in_channels, out_channels, 3, stride)


@MODELS.register_module()
class LinearExit(Exit):
    """Pooling and a linear classifier on a map that the network makes for an exit, as MSDNet does.

    Args:
        in_channels (int): Channels of the tapped map.
        num_classes (int): Number of classes.

    Example:
        >>> exits=[dict(tap='backbone.exit1', type='mmkd.LinearExit', in_channels=128), ...]
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(nn.Identity(), in_channels, num_classes)


class _TokenPooling(nn.Module):
    def __init__(self, pool: str) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        if self.pool == 'mean':
            return x.mean(dim=1)
        if (side := math.isqrt(x.shape[1])) ** 2 == x.shape[1]:
            raise ValueError(
                f"pool='cls' takes the first of {x.shape[1]} tokens, a grid of {side}x{side} "
                "without a class token; give pool='mean'"
            )
        return x[:, 0]


@MODELS.register_module()
class TokenExit(Exit):
    """The class token, or the mean of all tokens, a norm and a linear classifier.

    *Multi-Exit Vision Transformer for Dynamic Inference*, Bakhtiarnia et al., BMVC 2021, section 4:
    with ``channels``, the class token and a perceptron, its MLP-EE. Without, what the transformer
    itself ends with.

    Args:
        in_channels (int): Channels C of the tapped tokens, (N, L, C).
        num_classes (int): Number of classes.
        pool (str): ``'cls'``, the first token, or ``'mean'``. Defaults to ``'cls'``; networks
            without a class token, such as Swin, need the mean.
        channels (sequence of int): Of hidden layers, each with a GELU. Defaults to none.

    Raises:
        ValueError: If ``pool`` is another word.

    Example:
        >>> exits=[dict(tap='backbone.layers.5', type='mmkd.TokenExit', in_channels=192)]  # DeiT
        >>> exits=[dict(tap='backbone.stages.2[0]', type='mmkd.TokenExit', in_channels=384,
        ...             pool='mean')]  # Swin, whose stages give tokens and their height and width
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        pool: str = 'cls',
        channels: Sequence[int] = (),
    ) -> None:
        if pool not in ('cls', 'mean'):
            raise ValueError(f"TokenExit: pool={pool!r}, expected 'cls' or 'mean'")
        layers = [nn.LayerNorm(in_channels), _TokenPooling(pool)]
        for width in channels:
            layers += [nn.Linear(in_channels, width), nn.GELU()]
            in_channels = width
        super().__init__(nn.Sequential(*layers), in_channels, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Classify from tapped tokens.

        Args:
            x (Tensor): (N, L, C).

        Returns:
            tuple[Tensor, Tensor]: What the classifier sees, (N, C), and logits, (N, num_classes).

        Raises:
            ValueError: If ``x`` is no tensor of tokens, or L a square, which leaves no class token
                to pool.
        """
        if not isinstance(x, Tensor) or x.ndim != 3:
            raise ValueError('expected tokens (N, L, C); of a tuple, tap one element, such as [0]')
        return super().forward(x)

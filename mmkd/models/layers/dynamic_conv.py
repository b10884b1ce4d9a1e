"""Convolutions whose kernel depends on the image."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.wrappers import Conv2d
from torch import Tensor, nn

from mmkd.registry import MODELS


@MODELS.register_module()
class DynamicAdditiveConv2d(nn.Module):
    r"""A sum of n convolution kernels, weighted anew for every image.

    .. math:: y = \Bigl(\sum_{i=1}^{n} \alpha_i(x) W_i\Bigr) * x, \qquad
              \alpha(x) = \mathrm{softmax}(A \, \mathrm{pool}(x) + b)

    with the global average pool. A bias is mixed like the kernel. The mixed kernels of a batch are
    applied in one grouped convolution, the groups of an image beside those of the next.

    *Explicit Connection Distillation*, section 3.3, where the networks of CIFAR-100 have n = 16 and
    those of ImageNet n = 8 (A.1). The layer is that of *CondConv: Conditionally Parameterized
    Convolutions for Efficient Inference*, Yang et al., NeurIPS 2019, with a softmax in place of the
    sigmoid.

    The kernels are ``nn.Conv2d`` modules that are never called, so that an ``init_cfg`` for
    ``Conv2d`` initialises each as it does the convolution it stands for.

    Shapes: those of ``conv``. The mixed kernels take ``N * out_channels * in_channels *
    kernel_size^2`` numbers, which for wide layers and large batches is more than the maps.

    Args:
        conv (nn.Conv2d): The convolution to replace; gives shapes, stride, padding, dilation and
            groups.
        num_kernels (int): n. Defaults to 16.

    Raises:
        ValueError: If ``conv`` is of a subclass or does not pad with zeros, or n is less than 1.

    Example:
        >>> teacher_generator=dict(
        ...     type='DynamicAdditiveConv2d', convs='backbone.layer?.*.conv?', num_kernels=16)
    """

    def __init__(self, conv: nn.Conv2d, num_kernels: int = 16) -> None:
        super().__init__()
        if num_kernels < 1:
            raise ValueError(
                f'DynamicAdditiveConv2d: num_kernels={num_kernels}; expected 1 or more'
            )
        # A subclass may convolve otherwise, such as with a padding that depends on the image.
        # mmcv's differs for empty batches alone.
        if type(conv) not in (nn.Conv2d, Conv2d) or conv.padding_mode != 'zeros':
            kind = f'{type(conv).__module__}.{type(conv).__name__}'
            raise ValueError(
                f'DynamicAdditiveConv2d: found {kind} with padding_mode='
                f'{conv.padding_mode!r}; only an nn.Conv2d that pads with zeros can be replaced'
            )
        self.stride, self.padding, self.dilation = conv.stride, conv.padding, conv.dilation
        self.groups = conv.groups
        self.attention = nn.Linear(conv.in_channels, num_kernels)
        self.kernels = nn.ModuleList(copy.deepcopy(conv) for _ in range(num_kernels))
        for kernel in self.kernels:
            # Equal kernels would get equal gradients, but for alpha.
            kernel.reset_parameters()

    def kernel_weights(self, x: Tensor) -> Tensor:
        """Weight of every kernel for every image: (N, C, H, W) to (N, n), rows that sum to 1."""
        return self.attention(x.mean(dim=(2, 3))).softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.kernel_weights(x)
        weight = torch.stack([kernel.weight for kernel in self.kernels])
        bias = None
        if self.kernels[0].bias is not None:
            bias = (alpha @ torch.stack([kernel.bias for kernel in self.kernels])).flatten()
        y = F.conv2d(
            x.reshape(1, -1, *x.shape[2:]),
            (alpha @ weight.flatten(1)).view(-1, *weight.shape[2:]),
            bias,
            self.stride,
            self.padding,
            self.dilation,
            groups=len(x) * self.groups,
        )
        return y.view(len(x), -1, *y.shape[2:])

"""Layers that stand in for a convolution."""

from .attention import CBAM, CBAMConv2d, SEConv2d
from .dynamic_conv import DynamicAdditiveConv2d

__all__ = ['CBAM', 'CBAMConv2d', 'DynamicAdditiveConv2d', 'SEConv2d']

"""EfficientNet-B0 for 32x32 images."""

from __future__ import annotations

from typing import Any

from mmpretrain.models.backbones import EfficientNet

from mmkd.registry import MODELS


@MODELS.register_module()
class CIFAREfficientNet(EfficientNet):
    """EfficientNet-B0 for 32x32 images.

    *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*, Tan and Le, ICML
    2019, in the layout of *Rethinking Online Knowledge Distillation with Multi-Exits*, Lee and Lee,
    ACCV 2022, Fig. 1: stride 1 in the stem and in the blocks with 24 channels, and no convolution
    after the last block. The figure prints 60 channels for the blocks with 40; its exit there has
    240 = 40 x 6.

    Taps: ``backbone.layers.1`` .. ``backbone.layers.4`` end with the blocks of 24, 40, 112 and 320
    channels, linear bottlenecks, which no activation follows; the first three are the exits'.

    Shapes: (N, 3, 32, 32) to (N, 24, 32, 32), (N, 40, 16, 16), (N, 112, 8, 8), (N, 320, 4, 4) for
    ``out_indices=(1, 2, 3, 4)``; index 0 is the stem.

    Args:
        out_indices (sequence of int): Defaults to (4,).
        conv_cfg (dict, optional): Defaults to None, convolutions padded alike on both sides.
        kwargs: Other arguments of mmpretrain's ``EfficientNet``: ``frozen_stages`` (here 0 freezes
            nothing and 1 the stem), ``norm_eval``, ``drop_path_rate``, ...

    Raises:
        ValueError: If ``out_indices`` names a stage that there is not.

    Example:
        >>> backbone=dict(type='mmkd.CIFAREfficientNet')
    """

    layer_settings = dict(
        b=[
            # Kernel size, channels, squeeze ratio, stride, expansion, kind of block. The block with
            # 16 channels and those with 24 share a stage, for neither halves the map.
            [[3, 32, 0, 1, 0, -1]],
            [[3, 16, 4, 1, 1, 0], *[[3, 24, 4, 1, 6, 0]] * 2],
            [[5, 40, 4, 2, 6, 0], [5, 40, 4, 1, 6, 0]],
            [[3, 80, 4, 2, 6, 0], *[[3, 80, 4, 1, 6, 0]] * 2, *[[5, 112, 4, 1, 6, 0]] * 3],
            [[5, 192, 4, 2, 6, 0], *[[5, 192, 4, 1, 6, 0]] * 3, [3, 320, 4, 1, 6, 0]],
            [[1, 1280, 0, 1, 0, -1]],
        ]
    )

    def __init__(
        self,
        out_indices: tuple[int, ...] = (4,),
        conv_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if not out_indices or not all(0 <= i < 5 for i in out_indices):
            raise ValueError(
                f'CIFAREfficientNet: out_indices={tuple(out_indices)}; expected numbers from 0 to 4'
            )
        super().__init__(arch='b0', out_indices=out_indices, conv_cfg=conv_cfg, **kwargs)
        del self.layers[-1]
        self.out_channels = self.in_channels

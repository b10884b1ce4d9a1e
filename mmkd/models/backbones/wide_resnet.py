"""Wide residual networks."""

from __future__ import annotations

from typing import Any

from mmkd.registry import MODELS

from .preact_resnet import PreActStages


@MODELS.register_module()
class WideResNet(PreActStages):
    """WRN-d-k for 32x32 images.

    *Wide Residual Networks*, Zagoruyko and Komodakis, BMVC 2016: three stages of pre-activation
    basic blocks with 16k, 32k and 64k channels behind a stem with 16.

    Taps: ``backbone.layer1`` .. ``backbone.layer3`` are the raw maps, the sums that no ReLU has
    seen. The map after the next norm, before its ReLU, is ``backbone.layer2.0.relu1:input`` for
    stage 1, ``backbone.layer3.0.relu1:input`` for stage 2 and ``backbone.tail.relu:input`` for
    stage 3; ``backbone.tail`` is what is pooled.

    Shapes: (N, 3, 32, 32) to (N, 16k, 32, 32), (N, 32k, 16, 16), (N, 64k, 8, 8), and the last
    again after the tail.

    Args:
        depth (int): d = 6n+4, such as 16, 28, 40.
        widen_factor (int): k. Defaults to 1.
        dropout (float): Probability of dropout between the convolutions of a block; the paper's
            networks with dropout have 0.3. Defaults to 0.
        kwargs: ``out_indices``, ``frozen_stages``, ``norm_eval``, ``init_cfg``, see
            :class:`~mmkd.models.backbones.base.StagedBackbone`; stage 3 is the tail.

    Raises:
        ValueError: If ``depth`` is not 6n+4.

    Example:
        >>> backbone=dict(type='mmkd.WideResNet', depth=28, widen_factor=10)
    """

    def __init__(
        self, depth: int, widen_factor: int = 1, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        num_blocks, rest = divmod(depth - 4, 6)
        if rest or num_blocks < 1:
            raise ValueError(f'WideResNet: depth={depth}; expected 6n+4, such as 16, 28 or 40')
        channels = (16, *(width * widen_factor for width in (16, 32, 64)))
        super().__init__(num_blocks, channels, (3, 3), dropout=dropout, **kwargs)

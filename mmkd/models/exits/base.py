"""The base class of every exit: a small classifier that starts at a tap of another."""

from __future__ import annotations

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn


class Exit(BaseModule):
    """Layers, global average pooling and a linear classifier.

    Args:
        layers (nn.Module): From the tapped map, (N, C, H, W), to what the classifier sees,
            (N, ``feat_channels``, H', W') or (N, ``feat_channels``).
        feat_channels (int): Size of the feature before the classifier.
        num_classes (int): Number of classes.
        init_cfg (dict, optional): As in :class:`mmengine.model.BaseModule`.

    A subclass makes ``layers``::

        @MODELS.register_module()
        class MyExit(Exit):

            def __init__(self, in_channels, num_classes, init_cfg=None):
                layers = ConvModule(in_channels, 128, 3, stride=2, padding=1)
                super().__init__(layers, 128, num_classes, init_cfg)
    """

    def __init__(
        self,
        layers: nn.Module,
        feat_channels: int,
        num_classes: int,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.layers = layers
        self.fc = nn.Linear(feat_channels, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Classify from a tapped map.

        Args:
            x (Tensor): (N, C, H, W).

        Returns:
            tuple[Tensor, Tensor]: What ``layers`` give, and logits, (N, num_classes).
        """
        feature = self.layers(x)
        pooled = F.adaptive_avg_pool2d(feature, 1).flatten(1) if feature.dim() == 4 else feature
        return feature, self.fc(pooled)

"""Be your own teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .base import fp32
from .exit_base import Classify, ExitLoss, check_same_features, named, named_exits
from .kl_divergence import KLDivergenceLoss
from .utils import squared_error


@MODELS.register_module()
class BYOTLoss(ExitLoss):
    r"""The deepest classifier C teaches the shallow ones by soft targets and hints.

    .. math:: L = CE(z_C, y) + \sum_{i < C} \left[ (1 - \alpha) CE(z_i, y)
              + \alpha \tau^2 KL(p_C \| p_i) + \lambda \lVert h_i - h_C \rVert_2^2 \right]

    with :math:`p = \mathrm{softmax}(z / \tau)`, h the pooled feature, mean over images, and the
    deepest classifier's side without gradient. *Be Your Own Teacher: Improve the Performance of
    Convolutional Neural Networks via Self Distillation*, Zhang et al., ICCV 2019, section 3.2. The
    paper gives no constants; those here are of its public reimplementation for CIFAR-100
    (luanyunteng/pytorch-be-your-own-teacher): alpha 0.1, temperature 3, and lambda 1e-6 for the sum
    over a batch of 128, thus 1.28e-4 for the mean.

    Shapes: features (N, C, H, W), the same C for all classifiers.

    Args:
        tau (float): Temperature. Defaults to 3.0.
        kd_weight (float): alpha. Defaults to 0.1.
        feature_weight (float): lambda. Defaults to 1.28e-4.

    Raises:
        ValueError: If the pooled features differ in shape.

    Example:
        >>> objective=dict(type='mmkd.BYOTLoss')
    """

    def __init__(
        self, tau: float = 3.0, kd_weight: float = 0.1, feature_weight: float = 1.28e-4
    ) -> None:
        super().__init__()
        self.kd = KLDivergenceLoss(tau, kd_weight)
        self.kd_weight, self.feature_weight = kd_weight, feature_weight

    def build(
        self, logits: Sequence[Tensor], features: Sequence[Tensor], shared: Tensor | None = None
    ) -> None:
        # Pooled maps, so that their sizes may differ.
        tensors = all(isinstance(feature, Tensor) for feature in features)
        check_same_features('BYOTLoss', _pooled(features) if tensors else features)

    def forward(
        self,
        logits: Sequence[Tensor],
        features: Sequence[Tensor],
        classify: Classify,
        shared: Tensor | None = None,
    ) -> dict[str, Tensor]:
        *exit_logits, main_logits = logits
        *exit_features, main_feature = _pooled(features)
        target, hint = main_logits.detach(), main_feature.detach()
        cls = [(1 - self.kd_weight) * classify(z) for z in exit_logits]
        feature = [self.feature_weight * squared_error(h, hint) for h in exit_features]
        return {
            **named('cls', [*cls, classify(main_logits)]),
            **named_exits('kd', [self.kd(z, target) for z in exit_logits]),
            **named_exits('feature', feature),
        }


@fp32
def _pooled(features: Sequence[Tensor]) -> list[Tensor]:
    # What an exit on tokens sees is a vector already.
    return [h if h.ndim == 2 else F.adaptive_avg_pool2d(h, 1).flatten(1) for h in features]

"""The main classifier teaches the exits."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmkd.registry import MODELS

from .exit_base import Classify, ExitLoss, check_same_features, named, named_exits
from .hint import mean_squared_error
from .kl_divergence import KLDivergenceLoss


@MODELS.register_module()
class ExitKDLoss(ExitLoss):
    r"""Cross entropy, and distillation from the main classifier E into the exits.

    .. math:: L = \sum_{e \le E} CE(z_e, y)
              + \sum_{e < E} \left[ \alpha \tau^2 KL(p_E \| p_e) + \beta MSE(h_e, h_E) \right]

    with :math:`p = \mathrm{softmax}(z / \tau)` and the main classifier's side without gradient.
    'KD' in *Rethinking Online Knowledge Distillation with Multi-Exits*, Lee and Lee, ACCV 2022,
    supplement Tables 1 and 2, with the constants of the authors' code.

    Shapes: features (N, C, H, W), the same for all classifiers.

    Args:
        tau (float): Temperature. Defaults to 3.0.
        kd_weight (float): alpha. Defaults to 0.1.
        feature_weight (float): beta. Defaults to 0.025.

    Raises:
        ValueError: If the features differ in shape.

    Example:
        >>> objective=dict(type='mmkd.ExitKDLoss')
    """

    def __init__(
        self, tau: float = 3.0, kd_weight: float = 0.1, feature_weight: float = 0.025
    ) -> None:
        super().__init__()
        self.kd = KLDivergenceLoss(tau, kd_weight)
        self.feature_weight = feature_weight

    def build(
        self, logits: Sequence[Tensor], features: Sequence[Tensor], shared: Tensor | None = None
    ) -> None:
        check_same_features('ExitKDLoss', features)

    def forward(
        self,
        logits: Sequence[Tensor],
        features: Sequence[Tensor],
        classify: Classify,
        shared: Tensor | None = None,
    ) -> dict[str, Tensor]:
        check_same_features('ExitKDLoss', features)
        *exit_logits, main_logits = logits
        *exit_features, main_feature = features
        target, hint = main_logits.detach(), main_feature.detach()
        feature = [self.feature_weight * mean_squared_error(h, hint) for h in exit_features]
        return {
            **named('cls', [classify(z) for z in logits]),
            **named_exits('kd', [self.kd(z, target) for z in exit_logits]),
            **named_exits('feature', feature),
        }

"""Exit-ensemble distillation, balanced or not."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmkd.registry import MODELS

from .exit_base import Classify, ExitLoss, check_same_features, named, weighted_sum
from .hint import mean_squared_error
from .kl_divergence import KLDivergenceLoss


@MODELS.register_module()
class BEEDLoss(ExitLoss):
    r"""The ensemble of all classifiers teaches each of them.

    .. math:: L = \sum_{e=1}^{E} \left[ (2 - \gamma^{E-e}) CE(z_e, y)
              + \alpha \gamma^{E-e} \tau^2 KL(p_\text{ens} \| p_e)
              + \beta MSE(h_e, h_\text{ens}) \right]

    .. math:: z_\text{ens} = \sum_e w_e z_e, \quad h_\text{ens} = \sum_e w_e h_e, \quad
              w_e = \lambda^{e-1} / \sum_i \lambda^{i-1}

    with :math:`p = \mathrm{softmax}(z / \tau)`; the ensemble gets no gradient. With
    ``balance`` :math:`\gamma = 1` this is EED: every classifier has the same weights.

    *Rethinking Online Knowledge Distillation with Multi-Exits*, Lee and Lee, ACCV 2022, with the
    constants of the authors' code; supplement Fig. 2 varies lambda and gamma.

    Shapes: features (N, C, H, W), the same for all classifiers.

    Args:
        balance (float): gamma, above 1 more distillation and less cross entropy for shallower
            exits. Defaults to 1.15; 1.0 is EED.
        importance (float): lambda, how much more a classifier counts in the ensemble than the one
            before. Defaults to 1.6.
        tau (float): Temperature. Defaults to 3.0.
        kd_weight (float): alpha. Defaults to 1.0.
        feature_weight (float): beta. Defaults to 0.1.

    Raises:
        ValueError: If ``balance`` or ``importance`` is not positive, the features differ in shape,
            or the shallowest exit's weight of the cross entropy would be negative.

    Example:
        >>> objective=dict(type='mmkd.BEEDLoss')
    """

    def __init__(
        self,
        balance: float = 1.15,
        importance: float = 1.6,
        tau: float = 3.0,
        kd_weight: float = 1.0,
        feature_weight: float = 0.1,
    ) -> None:
        super().__init__()
        if balance <= 0 or importance <= 0:
            raise ValueError(
                f'BEEDLoss: balance={balance} and importance={importance}; both must be positive'
            )
        self.kd = KLDivergenceLoss(tau, kd_weight)
        self.balance, self.importance, self.feature_weight = balance, importance, feature_weight

    def build(
        self, logits: Sequence[Tensor], features: Sequence[Tensor], shared: Tensor | None = None
    ) -> None:
        check_same_features('BEEDLoss', features)
        largest = self.balance ** (len(logits) - 1)
        if largest > 2:
            raise ValueError(
                f'BEEDLoss: balance={self.balance} with {len(logits) - 1} exits gives the first a '
                f'cross entropy of weight {2 - largest:.3g}; choose a smaller balance'
            )

    def forward(
        self,
        logits: Sequence[Tensor],
        features: Sequence[Tensor],
        classify: Classify,
        shared: Tensor | None = None,
    ) -> dict[str, Tensor]:
        check_same_features('BEEDLoss', features)
        count = len(logits)
        powers = [self.importance**e for e in range(count)]
        weights = [power / sum(powers) for power in powers]
        target = weighted_sum(logits, weights).detach()
        hint = weighted_sum(features, weights).detach()
        factors = [self.balance ** (count - 1 - e) for e in range(count)]
        cls = [(2 - factor) * classify(z) for factor, z in zip(factors, logits, strict=True)]
        kd = [factor * self.kd(z, target) for factor, z in zip(factors, logits, strict=True)]
        feature = [self.feature_weight * mean_squared_error(h, hint) for h in features]
        return {**named('cls', cls), **named('kd', kd), **named('feature', feature)}

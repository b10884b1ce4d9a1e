"""On-the-fly native ensemble."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import fp32
from .exit_base import Classify, ExitLoss, named
from .kl_divergence import KLDivergenceLoss


@fp32
def gated_sum(logits: Sequence[Tensor], gates: Tensor) -> Tensor:
    """Sum of ``gates[:, b] * logits[b]``, in float32."""
    return torch.einsum('nb,bnk->nk', gates, torch.stack(tuple(logits)))


@MODELS.register_module()
class ONELoss(ExitLoss):
    r"""The gated ensemble of the branches, trained along, teaches each branch.

    .. math:: L = \sum_b CE(z_b, y) + CE(z_\text{ens}, y)
              + \sum_b \tau^2 KL(p_\text{ens} \| p_b), \qquad z_\text{ens} = \sum_b g_b z_b

    with :math:`p = \mathrm{softmax}(z / \tau)` and the ensemble without gradient in the last term.
    The gate is :math:`g = \mathrm{softmax}(\mathrm{ReLU}(\mathrm{BN}(W \bar f)))` of the pooled
    feature f that the branches share. *Knowledge Distillation by On-the-Fly Native Ensemble*, Lan
    et al., NeurIPS 2018, section 3; tau 3. Their code lets the KL grow over 80 epochs:
    ``schedules`` in the example.

    The branches are the exits (:class:`~mmkd.models.exits.BranchExit`) and the network itself.

    Shapes: the shared map (N, C, H, W).

    Args:
        tau (float): Temperature. Defaults to 3.0.

    Raises:
        ValueError: If there is no shared map.

    Example:
        >>> objective=dict(type='mmkd.ONELoss', tap='backbone.layer2',
        ...                schedules=dict(kd=dict(warmup=80, ramp='sigmoid')))
    """

    def __init__(self, tau: float = 3.0) -> None:
        super().__init__()
        self.kd = KLDivergenceLoss(tau)

    def build(
        self, logits: Sequence[Tensor], features: Sequence[Tensor], shared: Tensor | None = None
    ) -> None:
        if getattr(shared, 'ndim', None) != 4:
            raise ValueError(
                'ONELoss: the gate reads a map (N, C, H, W), found '
                f'{type(shared).__name__ if shared is None else tuple(shared.shape)}; set '
                "objective.tap to the stage that the branches share, such as 'backbone.layer2'"
            )
        branches = len(logits)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(shared.shape[1], branches),
            nn.BatchNorm1d(branches),
            nn.ReLU(),
            nn.Softmax(dim=1),
        )

    def forward(
        self,
        logits: Sequence[Tensor],
        features: Sequence[Tensor],
        classify: Classify,
        shared: Tensor | None = None,
    ) -> dict[str, Tensor]:
        ensemble = gated_sum(logits, self.gate(shared))
        target = ensemble.detach()
        return {
            **named('cls', [classify(z) for z in logits]),
            'loss_ensemble_cls': classify(ensemble),
            **named('kd', [self.kd(z, target) for z in logits]),
        }

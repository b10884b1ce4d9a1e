"""Cross entropy at every exit."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmkd.registry import MODELS

from .exit_base import Classify, ExitLoss, named


@MODELS.register_module()
class ExitCELoss(ExitLoss):
    r"""Cross entropy of every classifier, nothing distilled.

    .. math:: L = \sum_e CE(z_e, y)

    *Deeply-Supervised Nets*, Lee et al., AISTATS 2015; 'CE' in *Rethinking Online Knowledge
    Distillation with Multi-Exits*, Lee and Lee, ACCV 2022, supplement Tables 1 and 2.

    Example:
        >>> objective=dict(type='mmkd.ExitCELoss')
    """

    def forward(
        self,
        logits: Sequence[Tensor],
        features: Sequence[Tensor],
        classify: Classify,
        shared: Tensor | None = None,
    ) -> dict[str, Tensor]:
        return named('cls', [classify(z) for z in logits])

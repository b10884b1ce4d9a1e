"""Similarity-preserving knowledge distillation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, fp32, paired


def _similarities(feature: Tensor) -> Tensor:
    """Inner products of the samples of a batch, (N, N), each row of unit length."""
    feature = feature.flatten(1)
    return F.normalize(feature @ feature.T, dim=1)


@fp32
def similarity_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the two similarity matrices, in float32."""
    return F.mse_loss(_similarities(student), _similarities(teacher))


@MODELS.register_module()
class SimilarityPreservingLoss(DistillLoss):
    r"""Squared difference of the similarities between the samples of a batch.

    .. math:: L = \frac{1}{N^2} \lVert G_s - G_t \rVert_F^2, \qquad
              G_i = \frac{(F F^\top)_i}{\lVert (F F^\top)_i \rVert_2}

    with F the features flattened to one row per sample. *Similarity-Preserving Knowledge
    Distillation*, Tung and Mori, ICCV 2019, section 3. Weight in use: 3000 (benchmark of
    Contrastive Representation Distillation; Explicit Connection Distillation, Table 11).

    Shapes: (N, ...) and (N, ...), of any size per sample. With several taps the losses add up. A
    batch of one has no similarities to learn: loss and gradient are zero.

    Args:
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> sp=dict(type='SimilarityPreservingLoss', student='backbone.layer3',
        ...         teacher='backbone.layer3', loss_weight=3000.0)
    """

    def build(self, student: Tapped, teacher: Tapped) -> None:
        for s, t in paired(student, teacher):
            if s.ndim < 2 or t.ndim < 2:
                raise ValueError(
                    f'SimilarityPreservingLoss takes features (N, ...), found student '
                    f'{tuple(s.shape)} and teacher {tuple(t.shape)}; tap a stage, such as '
                    "'backbone.layer3'"
                )

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        pairs = paired(student, teacher)
        return self.loss_weight * sum(similarity_distance(s, t) for s, t in pairs)

"""Distillation from a learnable ensemble of the learners themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, as_list, check_same_shape, fp32, paired
from .kl_divergence import kl_divergence
from .utils import SAME_CLASSES, check_logits

_TAPS = "give the same list to both, such as ['student:head.fc', 'teacher:head.fc']"


@fp32
def mix(logits: Sequence[Tensor], scores: Tensor) -> Tensor:
    """Sum of logits (N, K) weighted by ``softmax(scores)``, in float32."""
    return torch.stack(list(logits), dim=-1) @ scores.softmax(dim=0)


@MODELS.register_module()
class LearnableEnsembleLoss(DistillLoss):
    r"""Train a weighted ensemble of several logits and distil it into each of them.

    .. math:: L = \mathrm{CE}(z_e, y) + \sum_m \tau^2
              \mathrm{KL}\bigl(\mathrm{sg}(p_e) \,\|\, p_m\bigr), \qquad
              z_e = \sum_m \mathrm{softmax}(a)_m z_m, \quad p = \mathrm{softmax}(z / \tau)

    with learnable scores a that start equal, and sg the stop of the gradient: the cross entropy
    trains the scores and the members, the KL only the members. This is what distinguishes ECD* from
    ECD (*Explicit Connection Distillation*, section 4 and A.1.1), which takes it from *Knowledge
    Distillation by On-the-Fly Native Ensemble*, Lan et al., NeurIPS 2018, section 3. There the
    scores come from a gate on shared features; the two networks of ECD share none, and the paper
    says no more than that the ensemble is learnable.

    Shapes: logits (N, K), the same taps on both sides: the student side is what learns, the teacher
    side the same without gradient. ``gt_label`` or ``gt_score`` of the data samples is y.

    Args:
        tau (float): Temperature. Defaults to 3.0 (Lan et al., section 4).
        loss_weight (float): Defaults to 1.0 (Explicit Connection Distillation, Table 11, ONE).

    Example:
        >>> ensemble=dict(
        ...     type='LearnableEnsembleLoss',
        ...     student=['student:head.fc', 'teacher:head.fc'],
        ...     teacher=['student:head.fc', 'teacher:head.fc'])
    """

    needs_labels = True
    needs_softmax = True

    def __init__(self, tau: float = 3.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        if tau <= 0:
            raise ValueError(f'LearnableEnsembleLoss: tau must be positive, found tau={tau}')
        self.tau = tau

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_logits('LearnableEnsembleLoss', student, teacher)
        members = as_list(student)
        if len(members) < 2:
            raise ValueError(
                'LearnableEnsembleLoss needs the logits of at least two members on each side, '
                f'found {len(members)}; {_TAPS}'
            )
        for member in members[1:]:
            check_same_shape(members[0], member, SAME_CLASSES)
        if not all(ours.is_set_to(target) for ours, target in paired(student, teacher)):
            raise ValueError(
                f'LearnableEnsembleLoss: student and teacher taps read different logits; {_TAPS}'
            )
        self.scores = nn.Parameter(torch.zeros(len(members)))

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        if not data_samples:
            raise ValueError('LearnableEnsembleLoss needs the labels of the batch')
        if 'gt_score' in data_samples[0]:
            target = torch.stack([sample.gt_score for sample in data_samples])
        else:
            target = torch.cat([sample.gt_label for sample in data_samples])
        cross_entropy = F.cross_entropy(mix(student, self.scores), target)
        ensemble = mix(teacher, self.scores.detach())
        divergence = sum(kl_divergence(member, ensemble, self.tau) for member in student)
        return self.loss_weight * (cross_entropy + divergence)

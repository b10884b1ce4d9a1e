"""Correlation congruence for knowledge distillation."""

from __future__ import annotations

from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, fp32, paired
from .utils import check_vectors


@fp32
def correlation_congruence(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean inner product of the absolute errors of neighbouring samples, in float32.

    Args:
        student (Tensor): Embeddings, (N, D).
        teacher (Tensor): Embeddings, (N, D).

    Returns:
        Tensor: Scalar; zero, with zero gradient, for a single row.
    """
    error = (student - teacher).abs()
    return (error[:-1] * error[1:]).sum() / max(len(error) - 1, 1)


@MODELS.register_module()
class CorrelationCongruenceLoss(DistillLoss):
    r"""Correlation between the embedding errors of neighbouring samples of a batch.

    .. math:: L = \frac{1}{N - 1} \sum_{i=1}^{N-1} \sum_k d_{ik}\, d_{i+1,k}, \qquad
              d = \lvert e_s(f_s) - e_t(f_t) \rvert

    with e linear embeddings, both trained. *Correlation Congruence for Knowledge Distillation*,
    Peng et al., ICCV 2019. This is the form of the authors' code as the benchmark of Contrastive
    Representation Distillation (CRD) has it; the paper's equation compares Gaussian kernel
    matrices. Weights in use: 0.02 (CRD), 100 (Explicit Connection Distillation, Table 11).

    Shapes: (N, C_s) and (N, C_t). With several taps the losses add up. A batch of one has no
    neighbours: loss and gradient are zero.

    Args:
        embed_dims (int): Size of the embeddings. Defaults to 128, as in CRD.
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> cc=dict(type='CorrelationCongruenceLoss', student='head.fc:input',
        ...         teacher='head.fc:input', loss_weight=0.02)
    """

    def __init__(
        self, embed_dims: int = 128, loss_weight: float = 1.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        self.embed_dims = embed_dims
        self.student_embeddings = nn.ModuleList()
        self.teacher_embeddings = nn.ModuleList()

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_vectors('CorrelationCongruenceLoss', student, teacher)
        for s, t in paired(student, teacher):
            self.student_embeddings.append(nn.Linear(s.shape[1], self.embed_dims))
            self.teacher_embeddings.append(nn.Linear(t.shape[1], self.embed_dims))

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        loss = 0.0
        levels = zip(
            self.student_embeddings, self.teacher_embeddings, paired(student, teacher), strict=True
        )
        for embed_s, embed_t, (s, t) in levels:
            loss = loss + correlation_congruence(embed_s(s), embed_t(t))
        return self.loss_weight * loss

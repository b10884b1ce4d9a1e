"""Localization distillation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .anchors import AnchorRegions, check_levels
from .base import DistillLoss, Tapped, as_list, check_same_shape, fp32, paired

_TAPS = "give student=['bbox_head[0]', 'bbox_head[1]'] and teacher='bbox_head[1]' of GFL heads"


@fp32
def edge_divergence(student: Tensor, teacher: Tensor, weight: Tensor, tau: float) -> Tensor:
    """KL divergence between the distributions of box edges, weighted sum over boxes.

    Args:
        student (Tensor): Logits, (P, 4 * bins).
        teacher (Tensor): Logits, (P, 4 * bins).
        weight (Tensor): Weight of a box, (P,).
        tau (float): Temperature.

    Returns:
        Tensor: Scalar: ``tau^2`` times the mean over edges and bins, summed over boxes.
    """
    s, t = (F.log_softmax(x.unflatten(1, (4, -1)) / tau, dim=2) for x in (student, teacher))
    divergence = F.kl_div(s, t, reduction='none', log_target=True).mean(dim=(1, 2))
    return tau**2 * (weight * divergence).sum()


@MODELS.register_module()
class LDLoss(DistillLoss):
    r"""KL divergence between the distributions over box edges that a GFL head predicts.

    .. math:: L = \sum_{i \in \mathrm{main}} \max_k \sigma(z^s_{ik})\, d_i
              + \gamma \sum_{i \in \mathrm{VLR}} \mathrm{IoU}_i\, d_i, \qquad
              d_i = \frac{\tau^2}{4 (n + 1)} \sum_{e=1}^{4} \sum_{b=0}^{n} p^t_{ieb}
              \log\frac{p^t_{ieb}}{p^s_{ieb}}, \quad p = \mathrm{softmax}(\cdot / \tau)

    The main distillation region are the positive anchors of the student's assigner. The valuable
    localization region (VLR) are anchors whose DIoU with a box is below the box's ATSS threshold
    and at least a quarter of it. *Localization Distillation for Dense Object Detection*, Zheng et
    al., CVPR 2022, sections 3.2 and 3.3, as the authors' code has it: a sum over the anchors of one
    process, not a mean. Main region, weight and temperature are also those of ``LDHead`` of mmdet,
    which has no VLR: ``vlr_weight=0``. The authors' classification term (weight 10, temperature 2,
    on positives) and feature imitation are not part of this loss.

    Shapes, levels in the order of the anchor generator: the student's class scores (N, K, H, W) and
    edges (N, 4 * (n + 1), H, W); the teacher's edges, of the same shapes. Data samples carry
    ``gt_instances``, ``pad_shape`` and ``batch_input_shape``, as mmdet leaves them.

    Args:
        anchor_generator (dict): Config of the student's anchor generator, one anchor a position.
        assigner (dict): Config of the student's assigner, an ATSSAssigner as in GFL's configs.
        tau (float): Temperature. Defaults to 10.0.
        vlr_weight (float): gamma, factor of the VLR on top of ``loss_weight``. Defaults to 0.25
            (the authors' code: equal weights, with divisors of 16 and 4).
        loss_weight (float): Defaults to 0.25, of the authors' and mmdet's configs.

    Raises:
        ValueError: If the taps are not these, the numbers of bins differ, the levels are not those
            of the anchor generator, or the assigner has no ``topk``.

    Example:
        >>> head = _base_.model.student.bbox_head
        >>> ld=dict(type='LDLoss', student=['bbox_head[0]', 'bbox_head[1]'],
        ...         teacher='bbox_head[1]', anchor_generator=head.anchor_generator,
        ...         assigner=_base_.model.student.train_cfg.assigner)
    """

    needs_labels = True

    def __init__(
        self,
        anchor_generator: dict,
        assigner: dict,
        tau: float = 10.0,
        vlr_weight: float = 0.25,
        loss_weight: float = 0.25,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if tau <= 0:
            raise ValueError(f'LDLoss: tau must be positive, found tau={tau}')
        self.tau = tau
        self.vlr_weight = vlr_weight
        self.regions = AnchorRegions('LDLoss', anchor_generator, assigner)
        if not self.regions.by_level:
            raise ValueError(
                f'LDLoss.assigner is a {assigner["type"]}, which has no topk candidates a level; '
                "give the student's ATSSAssigner, such as dict(type='ATSSAssigner', topk=9)"
            )
        anchors = self.regions.generator.num_base_priors
        if set(anchors) != {1}:
            raise ValueError(
                f'LDLoss.anchor_generator has {anchors} anchors a position, expected 1 on each '
                'level: give that of a GFL head'
            )

    @property
    def anchor_generator(self) -> object:
        """The anchor generator, which has to be that of the student's head."""
        return self.regions.generator

    def build(self, student: Tapped, teacher: Tapped) -> None:
        scores, edges, target = self._levels(student, teacher)
        check_levels('LDLoss', self.regions.generator, len(edges), "'bbox_head[1]'")
        for score, s, t in zip(scores, edges, target, strict=True):
            shapes = [tuple(x.shape) for x in (score, s, t)]
            if score.ndim != 4 or s.ndim != 4 or score.shape[2:] != s.shape[2:]:
                raise ValueError(
                    'LDLoss takes class scores (N, K, H, W) and edges (N, 4 * bins, H, W) of the '
                    f'student, found {shapes[:2]}; {_TAPS}'
                )
            if s.shape[1] % 4 or s.shape[1] < 8:
                raise ValueError(
                    f'LDLoss takes distributions (N, 4 * bins, H, W) of two or more bins, found '
                    f'edges {shapes[1]}: this head predicts no distributions; {_TAPS}'
                )
            check_same_shape(s, t, 'set the same reg_max in both heads')

    def _levels(self, student: Tapped, teacher: Tapped) -> tuple[list, list, list]:
        """Levels of scores, of edges and of the teacher's edges."""
        tensors = [x for part in as_list(student) for x in as_list(part)]
        target = [x for part in as_list(teacher) for x in as_list(part)]
        if len(tensors) != 2 * len(target):
            raise ValueError(
                f'LDLoss takes levels of class scores and of edges of the student and as many of '
                f'edges of the teacher, found {len(tensors)} and {len(target)} tensors; {_TAPS}'
            )
        return tensors[: len(target)], tensors[len(target) :], target

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        scores, edges, target = self._levels(student, teacher)
        sizes = [x.shape[2:] for x in edges]
        main, _, vlr = self.regions(sizes, data_samples, vlr=self.vlr_weight != 0)
        loss = 0.0
        for level, (s, t) in enumerate(paired(edges, target)):
            check_same_shape(s, t, 'student and teacher must see the same images')
            s, t = (x.permute(0, 2, 3, 1).flatten(1, 2) for x in (s, t))
            # Zero elsewhere: to select positions, the host would wait to know how many they are.
            weight = main[level] * scores[level].detach().flatten(2).amax(dim=1).sigmoid()
            if vlr is not None:
                weight = weight + self.vlr_weight * vlr[level]
            boxes = (x.flatten(0, 1) for x in (s, t, weight))
            loss = loss + edge_divergence(*boxes, self.tau)
        return self.loss_weight * loss

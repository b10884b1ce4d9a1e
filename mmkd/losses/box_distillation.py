"""Distillation of box regression."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, as_list, check_same_shape, fp32

_TAPS = (
    "give student='roi_head.bbox_head.fc_reg' and "
    "teacher=['roi_head.bbox_head.fc_reg', 'roi_head.bbox_head.fc_cls']"
)


@fp32
def expected_regression_loss(student: Tensor, teacher: Tensor, logits: Tensor) -> Tensor:
    """Smooth L1 between deltas, in expectation over the teacher's classes, mean over rows.

    Args:
        student (Tensor): Deltas, (N, 4K) or (N, 4).
        teacher (Tensor): Deltas of the same shape.
        logits (Tensor): The teacher's classification, (N, K + 1), background last.

    Returns:
        Tensor: Scalar; zero, with zero gradient, where there are no rows.
    """
    probabilities = logits.softmax(dim=1)[:, :-1]
    if student.shape[1] == 4:
        probabilities = probabilities.sum(dim=1, keepdim=True)
    distance = F.smooth_l1_loss(student, teacher, reduction='none').unflatten(1, (-1, 4)).sum(dim=2)
    return (probabilities * distance).sum() / max(len(student), 1)


@MODELS.register_module()
class BoxDistillationLoss(DistillLoss):
    r"""Smooth L1 between the box deltas of student and teacher for the same RoIs.

    .. math:: L = \frac{1}{N} \sum_n \sum_{k=1}^{K} p^t_{nk} \sum_{j=1}^{4}
              \mathrm{smooth}_{L_1}\bigl(d^s_{nkj} - d^t_{nkj}\bigr)

    with p the softmax of the teacher's logits, background left out. This is the regression loss of
    *Fast R-CNN*, Girshick, ICCV 2015, eqs. 2 and 3, a mean over RoIs of which only the deltas of
    the true class count and background has none, with the teacher's deltas for the targets and its
    class posterior for the label. Unweighted deltas would not do: those of a class that a RoI does
    not show, and all of a background RoI, are never trained and mean nothing. Class-agnostic deltas
    are weighed by the foreground probability, the sum of p.

    *Learning Efficient Object Detection Models with Knowledge Distillation*, Chen et al., NeurIPS
    2017, section 3.3, learns the RoI head's boxes from a teacher with weight 0.5, but from the
    ground truth as long as the teacher is better; a tap has no ground truth of a RoI. No paper has
    a weight for the form here. *Localization Distillation for Dense Object Detection*, Zheng et
    al., CVPR 2022, is another loss, :class:`~mmkd.losses.LDLoss`: it compares distributions over
    the offset of each edge, which heads such as GFL predict and a regression of four deltas does
    not.

    The teacher's head must run on the student's proposals, as the DetectionDistiller has it. Deltas
    are compared as the heads give them: student and teacher need the same ``bbox_coder`` means and
    stds, in a cascade therefore the same stage.

    Shapes: student deltas (N, 4K) or class-agnostic (N, 4); teacher deltas likewise, and logits
    (N, K + 1) of a softmax with the background last.

    Args:
        loss_weight (float): Defaults to 1.0.

    Raises:
        ValueError: If the taps are not these three, or do not have the same classes.

    Example:
        >>> box=dict(type='BoxDistillationLoss', loss_weight=0.5,
        ...          student='roi_head.bbox_head.fc_reg',
        ...          teacher=['roi_head.bbox_head.fc_reg', 'roi_head.bbox_head.fc_cls'])
    """

    needs_softmax = True

    def build(self, student: Tapped, teacher: Tapped) -> None:
        tensors = [*as_list(student), *as_list(teacher)]
        shapes = [tuple(x.shape) for x in tensors]
        if len(as_list(student)) != 1 or len(tensors) != 3 or any(x.ndim != 2 for x in tensors):
            raise ValueError(
                'BoxDistillationLoss takes deltas (N, 4K) of the student, and deltas and '
                f'class logits (N, K + 1) of the teacher, found {shapes}; {_TAPS}'
            )
        (_, ours), (_, theirs), (_, classes) = shapes
        if ours != theirs or ours not in (4, 4 * (classes - 1)):
            raise ValueError(
                f'the student has {ours} deltas, the teacher {theirs} and {classes} class logits; '
                'expected 4 deltas or 4 for each class but the background on both sides: set the '
                'same num_classes and reg_class_agnostic in both bbox_heads, with a softmax '
                'classifier'
            )

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        (deltas,), (target, logits) = as_list(student), teacher
        check_same_shape(deltas, target, 'student and teacher must see the same RoIs')
        return self.loss_weight * expected_regression_loss(deltas, target, logits)

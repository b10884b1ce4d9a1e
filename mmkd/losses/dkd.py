"""Decoupled knowledge distillation."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, as_list, check_same_shape, fp32, paired
from .kl_divergence import kl_divergence
from .utils import SAME_CLASSES, check_logits

#: Images of the dry forward with which distillers call ``build``.
_DRY_IMAGES = 2

_ROI_TAPS = (
    'the labels of RoIs as the last tap: '
    "student=['roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.loss_cls:input[1]'] and "
    "teacher='roi_head.bbox_head.fc_cls'"
)


def _split(student: Tapped) -> tuple[list[Tensor], Tensor | None]:
    """The student's logits, and the labels of their rows where the last tap gives them."""
    tensors = as_list(student)
    if len(tensors) > 1 and tensors[-1].ndim == 1 and not tensors[-1].is_floating_point():
        return tensors[:-1], tensors[-1]
    return tensors, None


def _decouple(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of target against all others, (N, 2), and of the other classes, (N, K - 1)."""
    others = torch.arange(logits.shape[1] - 1, device=logits.device)
    others = others + (others >= labels[:, None])
    rest = logits.gather(1, others)
    target = logits.gather(1, labels[:, None])
    return torch.cat([target, rest.logsumexp(dim=1, keepdim=True)], dim=1), rest


@fp32
def decoupled_kl_divergence(
    student: Tensor, teacher: Tensor, labels: Tensor, alpha: float, beta: float, tau: float
) -> Tensor:
    """``tau^2 * (alpha * TCKD + beta * NCKD)``, mean over rows.

    Args:
        student (Tensor): Logits, (N, K).
        teacher (Tensor): Logits, (N, K).
        labels (Tensor): Indices of the target classes, (N,).
        alpha (float): Factor of the target class term.
        beta (float): Factor of the non-target class term.
        tau (float): Temperature.

    Returns:
        Tensor: Scalar.
    """
    s_binary, s_rest = _decouple(student / tau, labels)
    t_binary, t_rest = _decouple(teacher / tau, labels)
    target_class = kl_divergence(s_binary, t_binary, tau=1)
    non_target_class = kl_divergence(s_rest, t_rest, tau=1)
    return tau**2 * (alpha * target_class + beta * non_target_class)


def _labels(data_samples: list | None, num_rows: int) -> Tensor:
    """One ground-truth label per image, (N,)."""
    if data_samples is None:
        raise ValueError('DKDLoss needs the labels of the batch, found no data samples')
    if 'gt_score' in data_samples[0]:
        raise ValueError(
            'DKDLoss needs one hard label per image, found gt_score; remove batch_augments and '
            'to_onehot from the data_preprocessor'
        )
    labels = torch.cat([sample.gt_label for sample in data_samples])
    if len(labels) != num_rows:
        raise ValueError(
            f'DKDLoss needs one label per row of logits, found {len(labels)} labels for {num_rows} '
            "rows; it is for single-label classification, with the tap on 'head.fc'; the rows of a "
            f'RoI head need {_ROI_TAPS}'
        )
    return labels


@MODELS.register_module()
class DKDLoss(DistillLoss):
    r"""KL divergence split into target class and non-target classes, each with its own weight.

    .. math:: L = \tau^2 \bigl(\alpha\, \mathrm{KL}(b^t \Vert b^s)
              + \beta\, \mathrm{KL}(\hat p^t \Vert \hat p^s)\bigr), \qquad
              b = (p_y, 1 - p_y), \quad \hat p_k = \frac{p_k}{1 - p_y}\ (k \ne y)

    with p = softmax(z / tau) and y the ground truth, mean over rows. The KL divergence of
    :class:`KLDivergenceLoss` is the case alpha = 1, beta = 1 - p_y of the teacher. *Decoupled
    Knowledge Distillation*, Zhao et al., CVPR 2022, section 3. The authors' code warms the loss up
    linearly over 20 epochs on CIFAR-100 (``warmup=20`` in the term) and sets beta per pair: 2
    (resnet56 -> resnet20, resnet110 -> resnet32), 6 (vgg13, wrn40-2 -> wrn), 8 (the others); on
    ImageNet tau = 1 and beta 0.5 (ResNet-34 -> 18) or 2 (ResNet-50 -> MobileNetV1).

    On RoIs the target is the class that the sampler gave the RoI, background included, and weights
    are 1, 0.25 and tau 1 (``alpha``, ``beta``, ``tau`` of the authors' detection code). The labels
    are then the student's last tap, the second input of the RoI head's classification loss.

    Shapes: student and teacher logits (N, K), same K; ``gt_label`` of each data sample holds one
    label, or the student's last tensor holds the N labels, integers. With several taps the losses
    are averaged.

    Args:
        alpha (float): Factor of the target class term. Defaults to 1.0.
        beta (float): Factor of the non-target class term. Defaults to 8.0.
        tau (float): Temperature. Defaults to 4.0.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ValueError: If ``tau`` is not positive, the logits differ in shape, or there is not one hard
            label a row.

    Example:
        >>> dkd=dict(type='DKDLoss', student='head.fc', teacher='head.fc', beta=2.0, warmup=20)
    """

    needs_labels = True
    needs_softmax = True

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 8.0,
        tau: float = 4.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight)
        if tau <= 0:
            raise ValueError(f'DKDLoss: tau must be positive, found tau={tau}')
        self.alpha = alpha
        self.beta = beta
        self.tau = tau

    def build(self, student: Tapped, teacher: Tapped) -> None:
        logits, labels = _split(student)
        check_logits('DKDLoss', logits, teacher)
        if labels is None and len(logits[0]) != _DRY_IMAGES:
            raise ValueError(
                f'DKDLoss needs one label per row of logits, and {_DRY_IMAGES} images gave '
                f'{len(logits[0])} rows, as a RoI head does; give {_ROI_TAPS}'
            )

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        logits, labels = _split(student)
        pairs = paired(logits, teacher)
        if labels is None:
            labels = _labels(data_samples, len(logits[0]))
        loss = 0.0
        for s, t in pairs:
            check_same_shape(s, t, SAME_CLASSES)
            loss = loss + decoupled_kl_divergence(s, t, labels, self.alpha, self.beta, self.tau)
        return self.loss_weight * loss / len(pairs)

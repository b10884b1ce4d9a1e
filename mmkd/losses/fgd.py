"""Focal and global distillation."""

from __future__ import annotations

import torch
from mmengine.model import constant_init, kaiming_init
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, check_same_shape, fp32, paired
from .utils import align_channels, pad_boxes, squared_error


@torch.no_grad()
def scale_masks(
    boxes: Tensor, size: torch.Size, image_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Weights of the positions inside and outside of ground-truth boxes.

    A box covers the positions from the floor of its low corner to the ceiling of its high one,
    both included, and weighs them by one over their number, as in the authors' code; of several
    boxes the smallest counts. The positions that no box covers weigh alike and sum up to 1.

    Args:
        boxes (Tensor): Ground truth, (N, B, 4), in pixels; a box of no area covers nothing.
        size (torch.Size): H and W of the map.
        image_size (tuple[int]): Height and width of the padded images.

    Returns:
        tuple[Tensor, Tensor]: Foreground and background weights, (N, 1, H, W) each.
    """
    ratios = [out / full for out, full in zip(size, image_size, strict=True)]
    covers, lengths = [], []
    for axis, (low, high) in enumerate(((1, 3), (0, 2))):
        low = (boxes[..., low] * ratios[axis]).floor()
        high = (boxes[..., high] * ratios[axis]).ceil()
        positions = torch.arange(size[axis], device=boxes.device)
        covers.append((positions >= low[..., None]) & (positions <= high[..., None]))
        lengths.append(high - low + 1)
    real = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    weights = real / (lengths[0] * lengths[1])
    covered = covers[0][..., :, None] & covers[1][..., None, :]
    foreground = (covered * weights[..., None, None]).amax(dim=1, keepdim=True)
    background = foreground == 0
    return foreground, background / background.sum(dim=(2, 3), keepdim=True).clamp(min=1)


def _attention(feature: Tensor, temp: float) -> tuple[Tensor, Tensor]:
    """Spatial attention (N, 1, H, W) and channel attention (N, C, 1, 1), each of mean 1."""
    magnitude = feature.abs()
    spatial = magnitude.mean(dim=1, keepdim=True)
    channel = magnitude.mean(dim=(2, 3), keepdim=True)
    return tuple(
        x.numel() / len(x) * (x.flatten(1) / temp).softmax(dim=1).view_as(x)
        for x in (spatial, channel)
    )


@fp32
def focal_terms(
    student: Tensor, teacher: Tensor, foreground: Tensor, background: Tensor, temp: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Foreground, background and attention term, each a sum over an image and a mean over images.

    Args:
        student (Tensor): Map, (N, C, H, W).
        teacher (Tensor): Map, (N, C, H, W).
        foreground (Tensor): Weights of positions, (N, 1, H, W).
        background (Tensor): Weights of positions, (N, 1, H, W).
        temp (float): Temperature of the attentions.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Scalars.
    """
    ours, (spatial, channel) = _attention(student, temp), _attention(teacher, temp)
    error = (student - teacher).square() * spatial * channel
    attention = (ours[0] - spatial).abs().sum() + (ours[1] - channel).abs().sum()
    terms = (error * foreground).sum(), (error * background).sum(), attention
    return tuple(term / len(teacher) for term in terms)


class GlobalContext(nn.Module):
    """GcBlock: add to every position what attention gathers over all of them.

    Layers and initialisation as in the authors' code: at first the map is passed on unchanged.

    Args:
        channels (int): Channels of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.Conv2d(channels, 1, kernel_size=1)
        self.transform = nn.Sequential(
            nn.Conv2d(channels, channels // 2, kernel_size=1),
            nn.LayerNorm([channels // 2, 1, 1]),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, kernel_size=1),
        )
        kaiming_init(self.attention, mode='fan_in')
        constant_init(self.transform[-1], 0)

    def forward(self, feature: Tensor) -> Tensor:
        """Return the map with its context, (N, C, H, W)."""
        weights = self.attention(feature).flatten(2).softmax(dim=2)
        context = feature.flatten(2) @ weights.mT
        return feature + self.transform(context[..., None])


@MODELS.register_module()
class FGDLoss(DistillLoss):
    r"""Focal distillation of foreground and background apart, and global distillation of relations.

    .. math:: L = \sum_l \frac{1}{N} \Bigl[ \sum_{ncij} (\alpha F_{nij} + \beta B_{nij})\,
              A^S_{nij} A^C_{nc} \bigl(f_t - f_s\bigr)_{ncij}^2
              + \gamma \bigl(\lVert A^S - A^S_s \rVert_1 + \lVert A^C - A^C_s \rVert_1\bigr)
              + \lambda \bigl\lVert \mathcal{R}_t(f_t) - \mathcal{R}_s(f_s) \bigr\rVert_2^2 \Bigr]

    F weighs the positions in a ground-truth box by one over their number, B those in none by one
    over theirs (:func:`scale_masks`). The attentions are those of the teacher, or, with the
    subscript s, the student's: :math:`A^S = HW \mathrm{softmax}(\mathrm{mean}_c |f| / T)` and
    :math:`A^C = C\,\mathrm{softmax}(\mathrm{mean}_{ij} |f| / T)`. R is a :class:`GlobalContext`,
    one a side, and a 1x1 convolution aligns f_s where the numbers of channels differ.

    *Focal and Global Knowledge Distillation for Detectors*, Yang et al., CVPR 2022, section 3.
    Section 4.2 has T = 0.5 and, for alpha, beta, gamma and lambda, 5e-5, 2.5e-5, 5e-5, 5e-7 for
    two-stage, 1e-3, 5e-4, 1e-3, 5e-6 for anchor-based and 1.6e-3, 8e-4, 8e-3, 8e-6 for anchor-free
    one-stage detectors. The authors' configs differ in gamma, 5e-4 for anchor-based and 8e-4 for
    anchor-free ones, and in T, 0.8 for FCOS. Their code scales boxes as if a map covered the image
    without its padding; here by the padded size.

    Shapes: (N, C_s, H, W) and (N, C_t, H, W), two or more teacher channels; with several taps the
    losses add up. Data samples carry ``gt_instances.bboxes`` and ``batch_input_shape``, as mmdet's
    data preprocessor leaves them.

    Args:
        temp (float): Temperature T. Defaults to 0.5.
        alpha_fgd (float): Weight of the foreground. Defaults to 1e-3.
        beta_fgd (float): Weight of the background. Defaults to 5e-4.
        gamma_fgd (float): Weight of the attentions. Defaults to 1e-3.
        lambda_fgd (float): Weight of the relations. Defaults to 5e-6.
        loss_weight (float): Factor on top of these. Defaults to 1.0.

    Raises:
        ValueError: If ``temp`` is not positive or maps differ in size.

    Example:
        >>> levels = ['neck[0]', 'neck[1]', 'neck[2]', 'neck[3]']
        >>> fgd=dict(type='FGDLoss', student=levels, teacher=levels, alpha_fgd=5e-5,
        ...          beta_fgd=2.5e-5, gamma_fgd=5e-5, lambda_fgd=5e-7)
    """

    needs_labels = True

    def __init__(
        self,
        temp: float = 0.5,
        alpha_fgd: float = 1e-3,
        beta_fgd: float = 5e-4,
        gamma_fgd: float = 1e-3,
        lambda_fgd: float = 5e-6,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if temp <= 0:
            raise ValueError(f'FGDLoss: temp must be positive, found temp={temp}')
        self.temp = temp
        self.alpha_fgd = alpha_fgd
        self.beta_fgd = beta_fgd
        self.gamma_fgd = gamma_fgd
        self.lambda_fgd = lambda_fgd

    def build(self, student: Tapped, teacher: Tapped) -> None:
        self.aligns = align_channels('FGDLoss', student, teacher)
        channels = [t.shape[1] for _, t in paired(student, teacher)]
        self.student_contexts = nn.ModuleList(GlobalContext(c) for c in channels)
        self.teacher_contexts = nn.ModuleList(GlobalContext(c) for c in channels)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        boxes, image_size = pad_boxes(data_samples), data_samples[0].batch_input_shape
        loss = 0.0
        levels = zip(
            self.aligns,
            self.student_contexts,
            self.teacher_contexts,
            paired(student, teacher),
            strict=True,
        )
        for align, student_context, teacher_context, (s, t) in levels:
            aligned = align(s)
            check_same_shape(aligned, t, 'tap levels of the same stride')
            masks = scale_masks(boxes, t.shape[2:], image_size)
            foreground, background, attention = focal_terms(aligned, t, *masks, self.temp)
            relation = squared_error(student_context(aligned), teacher_context(t))
            loss = (
                loss
                + self.alpha_fgd * foreground
                + self.beta_fgd * background
                + self.gamma_fgd * attention
                + self.lambda_fgd * relation
            )
        return self.loss_weight * loss

"""Feature imitation by the Pearson correlation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, check_same_shape, fp32, paired
from .utils import align_channels, check_maps

_EPS = 1e-6  # as MMRazor


def _standardized(feature: Tensor) -> Tensor:
    """Channels as rows of zero mean and unit unbiased variance over all positions, (C, NHW)."""
    feature = feature.transpose(0, 1).flatten(1)
    std, mean = torch.std_mean(feature, dim=1, correction=1, keepdim=True)
    return (feature - mean) / (std + _EPS)


@fp32
def pearson_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """``(1 - 1/m) (1 - r)``, r the correlation of a channel over m positions; mean over channels.

    Args:
        student (Tensor): Map, (N, C, H, W).
        teacher (Tensor): Map, (N, C, H, W).

    Returns:
        Tensor: Scalar, computed as half of the squared error of standardized channels.
    """
    return F.mse_loss(_standardized(student), _standardized(teacher)) / 2


@MODELS.register_module()
class PKDLoss(DistillLoss):
    r"""One minus the Pearson correlation of the channels of student and teacher.

    .. math:: L = \sum_l \frac{1}{C} \sum_c \frac{m-1}{m} \bigl(1 - r(f_{s,c}^l, f_{t,c}^l)\bigr)
              = \sum_l \frac{1}{2 C m} \sum_{c} \lVert \hat{f}_{s,c}^l - \hat{f}_{t,c}^l \rVert_2^2

    with r over the m = NHW positions of the batch of one process and hats for channels of zero mean
    and unit variance, the unbiased one as in the authors' code. Scale and offset of a channel play
    no role, so heterogeneous detectors can be compared. A 1x1 convolution aligns the student where
    the numbers of channels differ. *PKD: General Distillation Framework for Object Detectors via
    Pearson Correlation Coefficient*, Cao et al., NeurIPS 2022, section 3. Weights in use on the
    first four FPN levels: 6 for Faster R-CNN, 10 for RetinaNet (configs of MMRazor).

    Shapes: (N, C_s, H, W) and (N, C_t, H, W); with several taps the losses add up.

    Args:
        resize_student (bool): Whether the student's maps are resized, bilinearly, to the teacher's,
            as MMRazor does where necks start at different strides. Defaults to False.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ValueError: If maps differ in size and are not resized, or a level has a single position in
            the whole batch.

    Example:
        >>> levels = ['neck[0]', 'neck[1]', 'neck[2]', 'neck[3]']
        >>> pkd=dict(type='PKDLoss', student=levels, teacher=levels, loss_weight=6.0)
    """

    def __init__(
        self, resize_student: bool = False, loss_weight: float = 1.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        self.resize_student = resize_student

    def build(self, student: Tapped, teacher: Tapped) -> None:
        check_maps('PKDLoss', student, teacher)
        self.aligns = align_channels('PKDLoss', self._resized(student, teacher), teacher)

    def _resized(self, student: Tapped, teacher: Tapped) -> Tapped:
        if not self.resize_student:
            return student
        return [
            F.interpolate(s, size=t.shape[2:], mode='bilinear') for s, t in paired(student, teacher)
        ]

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        student = self._resized(student, teacher)
        loss = 0.0
        for align, (s, t) in zip(self.aligns, paired(student, teacher), strict=True):
            aligned = align(s)
            check_same_shape(aligned, t, 'tap levels of the same stride')
            if t.numel() == t.shape[1]:
                raise ValueError(
                    f'PKDLoss: a map {tuple(t.shape)} has one position, and no correlation over '
                    'it; use a larger batch, larger images or a level of smaller stride'
                )
            loss = loss + pearson_distance(aligned, t)
        return self.loss_weight * loss

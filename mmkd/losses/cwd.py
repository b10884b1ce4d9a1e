"""Channel-wise distillation."""

from __future__ import annotations

from torch import Tensor

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, check_same_shape, paired
from .kl_divergence import kl_divergence
from .utils import align_channels, check_positions


@MODELS.register_module()
class CWDLoss(DistillLoss):
    r"""KL divergence between the distributions that a channel forms over the positions of a map.

    .. math:: L = \sum_l \frac{\tau^2}{N C} \sum_{nc} \sum_i \phi(f_t^l)_{nci}
              \log\frac{\phi(f_t^l)_{nci}}{\phi(f_s^l)_{nci}}, \qquad
              \phi(f)_{nci} = \frac{\exp(f_{nci} / \tau)}{\sum_j \exp(f_{ncj} / \tau)}

    A 1x1 convolution aligns the student where the numbers of channels differ. *Channel-wise
    Knowledge Distillation for Dense Prediction*, Shu et al., ICCV 2021, section 3.2. In use with
    tau 1: weight 10 on FPN levels of Faster R-CNN and RetinaNet, 5 on the class scores of GFL
    (detection configs of MMRazor).

    Shapes: (N, C_s, H, W) and (N, C_t, H, W); with several taps the losses add up.

    Args:
        tau (float): Temperature. Defaults to 1.0.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ValueError: If ``tau`` is not positive, maps differ in size, or all are of one position.

    Example:
        >>> cwd=dict(type='CWDLoss', student='neck', teacher='neck', tau=1.0, loss_weight=10.0)
    """

    def __init__(
        self, tau: float = 1.0, loss_weight: float = 1.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if tau <= 0:
            raise ValueError(f'CWDLoss: tau must be positive, found tau={tau}')
        self.tau = tau

    def build(self, student: Tapped, teacher: Tapped) -> None:
        self.aligns = align_channels('CWDLoss', student, teacher)
        check_positions('CWDLoss', student, teacher)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        check_positions('CWDLoss', student, teacher)
        loss = 0.0
        for align, (s, t) in zip(self.aligns, paired(student, teacher), strict=True):
            aligned = align(s)
            check_same_shape(aligned, t, 'tap levels of the same stride')
            rows = (x.flatten(2).flatten(0, 1) for x in (aligned, t))
            loss = loss + kl_divergence(*rows, self.tau)
        return self.loss_weight * loss

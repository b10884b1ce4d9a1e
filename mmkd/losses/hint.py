"""FitNets: hints from intermediate layers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.registry import MODELS

from .base import DistillLoss, Tapped, check_same_shape, fp32, paired
from .utils import check_maps, match_maps


@fp32
def mean_squared_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of ``(student - teacher)^2`` over all entries, in float32."""
    return F.mse_loss(student, teacher)


#: Arguments of :func:`~mmkd.losses.utils.match_maps` of every regressor.
_REGRESSORS = {'conv': {}, 'conv_bn_relu': dict(norm=True, relu=True)}


@MODELS.register_module()
class HintLoss(DistillLoss):
    r"""Mean squared error between the regressed student feature and the teacher's.

    .. math:: L = \frac{1}{|f_t|} \lVert r(f_s) - f_t \rVert_2^2

    *FitNets: Hints for Thin Deep Nets*, Romero et al., 2015, in its one-stage form. Three forms of
    the regressor r are in use, each with a weight of its own:

    =================== ====== =====================================================================
    ``regressor``       weight source
    =================== ====== =====================================================================
    ``'conv_bn_relu'``  100    benchmark of Contrastive Representation Distillation (CRD), whose
                               published numbers are this form's
    ``'conv'``          0.1    detectors; the supplement of ReviewKD gives the weight, not the layer
    ``None``            0.1    Explicit Connection Distillation, Table 11: "without hint layer"
    =================== ====== =====================================================================

    The convolution (:func:`~mmkd.losses.utils.match_maps`) is there whether the shapes agree or
    not, 1x1 between maps of equal size; 'conv_bn_relu' adds batch norm and a ReLU, so the teacher's
    feature should be one after a ReLU too. None compares the features as they are.

    Shapes: (N, C_s, H_s, W_s) and (N, C_t, H_t, W_t), of equal size, or one twice as large as the
    other; equal shapes without regressor. With several taps the losses add up. With
    'conv_bn_relu' a batch of one needs maps of more than one position, as batch norm does.

    Args:
        regressor (str, optional): ``'conv'``, ``'conv_bn_relu'`` or None. Defaults to ``'conv'``.
        loss_weight (float): Defaults to 1.0.

    Example:
        >>> hint=dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2',
        ...           regressor='conv_bn_relu', loss_weight=100.0)
    """

    def __init__(
        self,
        regressor: str | None = 'conv',
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if regressor is not None and regressor not in _REGRESSORS:
            raise ValueError(
                f'HintLoss: unknown regressor={regressor!r}; give one of {list(_REGRESSORS)}, or '
                'None to compare the features as they are'
            )
        self.regressor = regressor

    def build(self, student: Tapped, teacher: Tapped) -> None:
        if self.regressor is not None:
            kwargs = _REGRESSORS[self.regressor]
            self.regressors = match_maps('HintLoss', student, teacher, **kwargs)
            return
        check_maps('HintLoss', student, teacher)
        pairs = paired(student, teacher)
        for s, t in pairs:
            check_same_shape(s, t, "tap maps of equal shape, or give HintLoss regressor='conv'")
        self.regressors = nn.ModuleList(nn.Identity() for _ in pairs)

    def forward(self, student: Tapped, teacher: Tapped, data_samples: list | None = None) -> Tensor:
        loss = 0.0
        for regressor, (s, t) in zip(self.regressors, paired(student, teacher), strict=True):
            regressed = regressor(s)
            check_same_shape(regressed, t, 'give images whose size both strides divide')
            loss = loss + mean_squared_error(regressed, t)
        return self.loss_weight * loss

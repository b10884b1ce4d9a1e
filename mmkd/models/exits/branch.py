"""A branch: one more copy of a network's upper stages."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mmkd.models.backbones.base import HE_INIT
from mmkd.registry import MODELS

from .base import Exit


@MODELS.register_module()
class BranchExit(Exit):
    """Upper stages like those of a backbone, with weights of their own.

    *Knowledge Distillation by On-the-Fly Native Ensemble*, Lan et al., NeurIPS 2018, section 3.2:
    the branches share the lower stages and repeat the last one.

    Args:
        backbone (dict): Config of the backbone; a type without a scope is mmpretrain's.
        stages (sequence of str): Names of its submodules that the branch has, from the tap to the
            pooling, such as ``('layer3', )``.
        feat_channels (int): Channels of the last stage.
        num_classes (int): Number of classes.
        init_cfg (dict or list, optional): Defaults to He initialisation.

    Raises:
        ValueError: If the backbone has no such submodule.

    Example:
        >>> exits=[dict(tap='backbone.layer2', type='mmkd.BranchExit', backbone=dict(...),
        ...             stages=('layer3',), feat_channels=64)] * 2
    """

    def __init__(
        self,
        backbone: dict,
        stages: Sequence[str],
        feat_channels: int,
        num_classes: int,
        init_cfg: dict | Sequence[dict] | None = HE_INIT,
    ) -> None:
        # Exits are built in the scope mmkd.
        backbone = MODELS.build({'_scope_': 'mmpretrain', **backbone})
        submodules = dict(backbone.named_children())
        missing = [stage for stage in stages if stage not in submodules]
        if missing or not stages:
            raise ValueError(
                f'BranchExit: stages={tuple(stages)}; expected one or more of {sorted(submodules)}'
            )
        layers = nn.Sequential(*(submodules[stage] for stage in stages))
        init_cfg = list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg
        super().__init__(layers, feat_channels, num_classes, init_cfg)

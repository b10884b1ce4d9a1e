"""What the backbones of this package share: named stages, outputs, freezing."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

#: He initialisation by the number of outputs, as in mmpretrain's ResNet.
HE_INIT = (
    dict(type='Kaiming', layer=['Conv2d']),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
)


class StagedBackbone(BaseBackbone):
    """A chain of stages, each a named submodule whose output is the stage's output.

    The submodules are ``stem``, ``layer1`` .. ``layerN`` and, where the network has layers between
    its last stage and the pooling, ``tail``. The tail counts as one more stage, number N.

    Args:
        stem (nn.Module): Layers before the first stage.
        layers (sequence of nn.Module): The stages.
        tail (nn.Module, optional): Layers after the last stage.
        out_indices (sequence of int): Stages whose outputs are returned, counted from 0; negative
            ones count from the end. Defaults to the last.
        frozen_stages (int): The stem and the first ``frozen_stages`` stages get no gradient and
            keep their running statistics; -1 freezes nothing, 0 the stem. Defaults to -1.
        norm_eval (bool): Whether batch norm layers keep their running statistics. Defaults to
            False.
        init_cfg (dict or list, optional): Initialisation. None is torch's own. Defaults to He
            initialisation.

    Raises:
        ValueError: If ``out_indices`` or ``frozen_stages`` names a stage that there is not.
    """

    def __init__(
        self,
        stem: nn.Module,
        layers: Sequence[nn.Module],
        tail: nn.Module | None = None,
        out_indices: Sequence[int] = (-1,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | Sequence[dict] | None = HE_INIT,
    ) -> None:
        super().__init__(list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg)
        stages = {f'layer{i}': layer for i, layer in enumerate(layers, 1)}
        if tail is not None:
            stages['tail'] = tail
        self.stages = list(stages)
        count, name = len(stages), type(self).__name__
        if not out_indices or not all(-count <= i < count for i in out_indices):
            raise ValueError(
                f'{name}: out_indices={tuple(out_indices)}; expected numbers from {-count} to '
                f'{count - 1} ({", ".join(stages)})'
            )
        if not -1 <= frozen_stages <= count:
            raise ValueError(
                f'{name}: frozen_stages={frozen_stages}; expected -1 (nothing) to {count} (all)'
            )
        self.out_indices = tuple(sorted({i % count for i in out_indices}))
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.stem = stem
        for stage, module in stages.items():
            self.add_module(stage, module)
        self._freeze_stages()

    def init_weights(self) -> None:
        again = self.is_init
        super().init_weights()
        if self.init_cfg is None and not again:
            # mmcv's ConvModule has an initialisation of its own.
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    module.reset_parameters()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the stages in ``out_indices``, in the order of the stages."""
        x = self.stem(x)
        outs = []
        for i, stage in enumerate(self.stages):
            x = getattr(self, stage)(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        for name in ['stem', *self.stages[: self.frozen_stages]]:
            getattr(self, name).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> StagedBackbone:
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

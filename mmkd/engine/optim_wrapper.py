"""What MMEngine's optimizer wrappers and their constructors lack for distillers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_CONSTRUCTORS
from torch import nn

from mmkd.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run forward passes under torch's autocast in bfloat16; weights and updates stay in float32.

    bfloat16 has the exponents of float32, so that no loss is scaled. ``--amp`` takes this wrapper
    on a CPU, where MMEngine's ``AmpOptimWrapper`` refuses to be built.

    Args: see :class:`mmengine.optim.OptimWrapper`.

    Example:
        >>> optim_wrapper = dict(
        ...     type='mmkd.BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=0.05))
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of a training forward.

        Args:
            model (nn.Module): The model.
        """
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class StudentOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Group the student's parameters by a constructor that knows plain models alone.

    Constructors such as mmpretrain's ``LearningRateDecayOptimWrapperConstructor`` and mmdet's
    ``LearningRateDecayOptimizerConstructor`` ask the model for its layers, or read the names of its
    parameters. They are given the student, each peer, or the network that exits start from.
    Parameters beside it, of terms, exits and connections, are grouped as MMEngine does by default.

    Args:
        optim_wrapper_cfg (dict): Config of the optimizer wrapper.
        paramwise_cfg (dict): Settings of both constructors, and ``student_constructor``, the type
            of the student's.

    Raises:
        ValueError: If there is no ``student_constructor``.

    Example:
        >>> optim_wrapper = dict(
        ...     constructor='mmkd.StudentOptimWrapperConstructor',
        ...     paramwise_cfg=dict(
        ...         student_constructor='LearningRateDecayOptimWrapperConstructor',
        ...         layer_decay_rate=0.65))
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        settings = dict(self.paramwise_cfg)
        kind = settings.pop('student_constructor', None)
        if kind is None:
            raise ValueError(
                'optim_wrapper.paramwise_cfg.student_constructor is missing, which '
                'StudentOptimWrapperConstructor groups the parameters of the student with; give '
                "it, such as 'LearningRateDecayOptimWrapperConstructor'"
            )
        self.student_constructor = MMENGINE_CONSTRUCTORS.build(
            dict(type=kind, optim_wrapper_cfg=optim_wrapper_cfg, paramwise_cfg=settings)
        )
        self.students: list[nn.Module] = []

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper of a distiller.

        Raises:
            TypeError: If the model is none.
        """
        distiller = model.module if is_model_wrapper(model) else model
        if not hasattr(distiller, 'trained_networks'):
            raise TypeError(
                "optim_wrapper.constructor='mmkd.StudentOptimWrapperConstructor' is for "
                f'distillers, and model is a {type(distiller).__name__}; take '
                'paramwise_cfg.student_constructor as the constructor'
            )
        # With it come all of mmpretrain's networks, which `import mmkd` does without.
        from mmkd.models.multi_exit import without_exits

        self.students = list(map(without_exits, distiller.trained_networks().values()))
        return super().__call__(model)

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any
    ) -> None:
        """Add the parameters of a module to the groups, by the constructor that suits it."""
        if any(module is student for student in self.students):
            self.student_constructor.add_params(params, module)
        else:
            super().add_params(params, module, prefix, **kwargs)
        # torch wants names in all groups or in none; mmdet gives some.
        if not prefix and any('param_names' in group for group in params):
            names = {parameter: name for name, parameter in module.named_parameters()}
            for group in params:
                group['param_names'] = [names[parameter] for parameter in group['params']]

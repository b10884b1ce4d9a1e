"""Sharding of parameters over processes, as distillers and their checkpoints need it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine._strategy import FSDPStrategy as MMEngineFSDPStrategy
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.registry import STRATEGIES
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel


@STRATEGIES.register_module(name='FSDPStrategy', force=True)
class FSDPStrategy(MMEngineFSDPStrategy):
    """MMEngine's strategy of that name, in whose place it is registered.

    Parameters, gradients and optimizer state of what is trained are sharded over the processes.

    * Checkpoints are whole, so that they are resumed and published like any.
    * Frozen teachers, which are not in the module tree, are whole in every process.
    * The optimizer's state is resumed: MMEngine 0.10.7 hands it to torch in the order of the
      arguments of torch 2.0.
    * It also runs on the CPU over gloo, where torch 2.11 crashes while it offloads a whole state.

    Args:
        model_wrapper (dict, optional): Arguments of ``MMFullyShardedDataParallel``, such as
            ``auto_wrap_policy``. Defaults to None, the model as one unit.
        state_dict_cfg (str | dict): Whole checkpoints in MMEngine's terms. Defaults to ``'full'``.
        skip_init_weights (bool): Not supported: it would empty the teachers too.
        kwargs: As of MMEngine's strategy.

    Raises:
        ValueError: If checkpoints would be shards, or weights not initialised.

    Example:
        >>> runner_type = 'FlexibleRunner'
        >>> strategy = dict(type='FSDPStrategy')
    """

    def __init__(
        self,
        *,
        model_wrapper: dict | None = None,
        state_dict_cfg: str | dict = 'full',
        skip_init_weights: bool = False,
        **kwargs: Any,
    ) -> None:
        if skip_init_weights:
            raise ValueError(
                'strategy.skip_init_weights=True would empty the teachers too; remove it'
            )
        if not torch.cuda.is_available():
            model_wrapper = dict(
                type='MMFullyShardedDataParallel', **{'device_id': 'cpu', **(model_wrapper or {})}
            )
        super().__init__(model_wrapper=model_wrapper, state_dict_cfg=state_dict_cfg, **kwargs)
        if not self._is_full_state_dict():
            raise ValueError(
                f'strategy.state_dict_cfg={state_dict_cfg!r} saves shards, from which no student '
                "is published; set it to 'full', or leave it out"
            )
        if not torch.cuda.is_available():
            self.state_dict_config.offload_to_cpu = False
            self.optim_state_dict_config.offload_to_cpu = False
        #: Names and shapes of what is trained, which a process with its shard does not know.
        self.whole_state: dict[str, Tensor] = {}

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        model = super().build_model(model)
        self.whole_state = {name: x.to('meta') for name, x in model.state_dict().items()}
        return model

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if not is_distributed():
            raise ValueError(
                "strategy.type='FSDPStrategy' shards over the processes of a group, and there is "
                'none; start with tools/dist_train.sh CONFIG PROCESSES'
            )
        for teacher in getattr(model, 'teachers', {}).values():
            # FSDP moves the parameters that it shards, one by one.
            teacher.apply_(lambda x: x.to(get_device()))
        return super()._wrap_model(model)

    def load_model_state_dict(
        self, state_dict: dict, *, strict: bool = False, revise_keys: Sequence = ()
    ) -> None:
        """Load weights of the whole model.

        Args: see MMEngine's strategy.

        Raises:
            ValueError: If they are of another model, such as a plain student.
        """
        if not state_dict.keys() & self.whole_state.keys():
            raise ValueError(
                'load_from: none of the weights is of the model that FSDPStrategy shards; give '
                "those of a student as init_cfg=dict(type='Pretrained', checkpoint=FILE) in its "
                'config'
            )
        super().load_model_state_dict(state_dict, strict=strict)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the state of the whole optimizer.

        Args:
            state_dict (dict): What a checkpoint has under ``optimizer``.
        """
        optimizer = self.optim_wrapper.optimizer
        shard = FullyShardedDataParallel.optim_state_dict_to_load(self.model, optimizer, state_dict)
        self.optim_wrapper.load_state_dict(shard)

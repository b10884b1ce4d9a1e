"""Mixed precision where MMEngine's AmpOptimWrapper finds no GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from mmkd.registry import OPTIM_WRAPPERS


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

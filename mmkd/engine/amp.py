"""Mixed precision where there is no CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from mmkd.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forwards and losses under torch's autocast to bfloat16, on any device.

    Gradients need no scaling: bfloat16 has the range of float32. MMEngine's ``AmpOptimWrapper``
    refuses the CPU.

    Args:
        kwargs: As of :class:`mmengine.optim.OptimWrapper`.

    Example:
        >>> optim_wrapper = dict(type='mmkd.BFloat16OptimWrapper', optimizer=dict(type='SGD', ...))
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = get_device().partition(':')[0]
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield

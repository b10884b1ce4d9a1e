"""Leave the optimizer out of a compiled training step."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.registry import HOOKS


@HOOKS.register_module()
class UncompiledOptimizerHook(Hook):
    """Let ``compile=True`` compile the forward and the backward, and not the optimizer's step.

    torch compiles a step for one learning rate: a schedule would have it compiled in each of the
    first eight iterations and given up then, with a warning. ``mmkd train`` adds this hook where
    ``compile`` is set.
    """

    def before_train(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        wrapper.update_params = torch.compiler.disable(wrapper.update_params)

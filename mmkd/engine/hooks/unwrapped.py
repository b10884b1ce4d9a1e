"""What is trained, without what distributes it."""

from __future__ import annotations

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrapped(runner: Runner) -> nn.Module:
    """The model of a runner, out of its wrapper if it has one."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model

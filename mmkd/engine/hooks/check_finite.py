"""Stop a training that has gone wrong, before it writes over what was good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn

from mmkd.registry import HOOKS

_FIX = (
    "try a smaller learning rate or the term's loss_weight, its warmup, or "
    'optim_wrapper.clip_grad=dict(max_norm=...), and check the images and what the teacher gives '
    "for them; default_hooks.check_finite=dict(type='mmkd.CheckFiniteHook', stop=False) goes on "
    'all the same'
)


@HOOKS.register_module()
class CheckFiniteHook(Hook):
    """Stop in the step in which a loss or the norm of the gradient is not a finite number.

    The message names the iteration and the terms. The norm of the gradient is known where it is
    clipped; without, a gradient that is not finite shows in the losses of the next step, and
    no checkpoint is written of the weights that it leaves.

    Costs a look at numbers that MMEngine has brought to the host for its log. With automatic mixed
    precision and a loss scale, which skips such steps, ``max_skipped`` steps in a row are allowed.

    Args:
        stop (bool): Whether to stop, or to warn and go on. Defaults to True.
        max_skipped (int): Number of steps in a row that a loss scale may skip. Defaults to 20, in
            which torch's scale falls from 65536 to below 1.

    Raises:
        FloatingPointError: If a number is not finite.

    Example:
        >>> default_hooks = dict(check_finite=dict(type='mmkd.CheckFiniteHook'))
    """

    # After RuntimeInfoHook, which reads the losses, and before all that validates or saves.
    priority = 'HIGH'

    def __init__(self, stop: bool = True, max_skipped: int = 20) -> None:
        self.stop = stop
        self.max_skipped = max_skipped
        self._in_a_row = 0
        self._from_the_start: list[str] = []

    def before_train(self, runner: Runner) -> None:
        # A buffer may hold nan until it is first set.
        self._from_the_start = _not_finite(runner.model)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        names = [name for name in outputs or () if 'loss' in name] + ['grad_norm']
        history = runner.message_hub.log_scalars
        last = {
            name: history[f'train/{name}'].current() for name in names if f'train/{name}' in history
        }
        wrong = {name: value for name, value in last.items() if not math.isfinite(value)}
        if not wrong:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        if scaler is not None and scaler.is_enabled() and self._in_a_row <= self.max_skipped:
            return
        # The total is as its parts are.
        parts = {name: value for name, value in wrong.items() if name != 'loss'} or wrong
        found = ', '.join(f'{name}={value}' for name, value in parts.items())
        self._report(runner, f'iteration {runner.iter + 1} gives {found}; {_FIX}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep weights that are not finite out of a checkpoint."""
        wrong = [name for name in _not_finite(runner.model) if name not in self._from_the_start]
        if wrong:
            self._report(
                runner,
                f'{_some(wrong)} not finite, so no checkpoint is written; {_FIX}',
            )

    def _report(self, runner: Runner, message: str) -> None:
        if self.stop:
            last = find_latest_checkpoint(runner.work_dir)
            kept = f'the last checkpoint, {last}, was before it' if last else 'nothing was saved'
            raise FloatingPointError(f'Training stopped ({kept}): {message}')
        if self._in_a_row <= 1:
            runner.logger.warning(message)


def _not_finite(model: nn.Module) -> list[str]:
    """Names of the parameters and buffers that hold a number which is not finite."""
    state = model.state_dict()
    return [name for name, value in state.items() if not bool(value.isfinite().all())]


def _some(names: Sequence[str]) -> str:
    more = f' and {len(names) - 1} other weights are' if len(names) > 1 else ' is'
    return f'{names[0]}{more}'

"""Resume with the random numbers an uninterrupted run would have drawn."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmkd.registry import HOOKS


def _get_state() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()
    return {
        'python': random.getstate(),
        'numpy': [kind, torch.from_numpy(keys.astype(np.int64)), *rest],
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _set_state(state: dict[str, Any]) -> None:
    kind, keys, *rest = state['numpy']
    random.setstate(state['python'])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state['torch'].cpu())
    if state['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Keep the random state of every process in the checkpoint, and go on from it.

    MMEngine restores weights, optimizer and schedule; what is drawn in a step (dropout, the
    sampling of RoIs, augmentation in the main process) would differ. After a checkpoint both the
    run that wrote it and the run that resumes from it go on from the stored state, so whatever lies
    between (validation, the start of data loader workers) makes no difference.

    The random state of data loader workers is out of reach. An iteration-based loop replays them.
    In an epoch-based loop, use ``num_workers=0`` or ``persistent_workers=False`` where a resumed
    run must be equal to the last bit.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._state: dict[str, Any] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._state = _get_state()
        checkpoint['random_state'] = all_gather_object(self._state)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume:
            return
        states = checkpoint.get('random_state', [])
        if get_rank() < len(states):
            self._state = states[get_rank()]
        else:
            runner.logger.warning(
                'The checkpoint has no random state for this process: the resumed run will draw '
                'other random numbers than the first would have'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        # An iteration-based loop replays the data loader after this point.
        if not isinstance(runner.train_loop, IterBasedTrainLoop):
            self._restore()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._restore()

    def _restore(self) -> None:
        if self._state is not None:
            _set_state(self._state)
            self._state = None

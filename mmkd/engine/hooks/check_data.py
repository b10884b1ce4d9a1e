"""Refuse data that does not fit the networks, which would train all the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.registry import HOOKS

from .unwrapped import unwrapped


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Let the distiller look at the training data before the first step.

    Does nothing for a plain model.

    Raises:
        ValueError: If a network predicts other classes than the data has, or a term does not fit
            the data (:meth:`mmkd.distillers.Distiller.check_data`).

    Example:
        >>> default_hooks = dict(check_data=dict(type='mmkd.CheckDataHook'))
    """

    # Before a phase of pre-training, which is HIGH.
    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner)
        if hasattr(model, 'check_data'):
            dataset = runner.train_dataloader.dataset
            found = {_is_labelled(part) for part in parts(dataset)}
            labelled = 'some' if len(found) == 2 else 'all' if found == {True} else 'none'
            classes = getattr(dataset, 'metainfo', {}).get('classes')
            model.check_data(classes, len(dataset), labelled)


def parts(dataset: Any) -> Iterator[Any]:
    """The data sets that a wrapper has; a data set itself."""
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for part in inner:
        if part is None:
            yield dataset
        else:
            yield from parts(part)


def _is_labelled(dataset: Any) -> bool:
    """Whether a data set says that it has labels, and its first sample has what losses read."""
    # With it come all of mmpretrain's and mmdet's data, which `import mmkd` does without.
    from mmkd.datasets import MarkUnlabelled

    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    if any(isinstance(step, MarkUnlabelled) for step in steps):
        return False
    if not getattr(dataset, 'with_label', True):
        return False
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        sample = dataset[0]
    random.setstate(states[0])
    np.random.set_state(states[1])
    sample = sample.get('data_samples') if isinstance(sample, dict) else None
    instances = getattr(sample, 'gt_instances', None)
    # Those of a detector are there also where no step has loaded them, and then have no boxes.
    return instances is None or 'bboxes' in instances or 'labels' in instances

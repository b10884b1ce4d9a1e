"""Refuse data that does not fit the networks, which would train all the same."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmkd.registry import HOOKS


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
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if hasattr(model, 'check_data'):
            dataset = runner.train_dataloader.dataset
            model.check_data(getattr(dataset, 'metainfo', {}).get('classes'), len(dataset))

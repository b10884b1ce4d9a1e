"""What the teacher itself reaches, before anybody learns from it."""

from __future__ import annotations

import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.evaluation import OutputAccuracy
from mmkd.registry import HOOKS

from .unwrapped import unwrapped


@HOOKS.register_module()
class EvaluateTeacherHook(Hook):
    """Report the metrics of the frozen teachers once, on the validation set, before training.

    They are logged as ``teacher/<metric>``, of several teachers as ``<name>/<metric>``. A warning
    says where a teacher is near chance (twice the accuracy of guessing, or one percent of mAP), and
    later, at the first validation where it is so, that the student is better than its teacher.

    Costs one validation a teacher. Teachers without a head, and resumed trainings, are left out.

    Raises:
        ValueError: If there is nothing to validate on.

    Example:
        >>> custom_hooks = [dict(type='mmkd.EvaluateTeacherHook')]
    """

    def __init__(self) -> None:
        #: Metrics by teacher, as its log prefix.
        self.metrics: dict[str, dict[str, float]] = {}
        self._warned: set[str] = set()

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner)
        if runner.iter:
            return
        loop = runner.val_loop
        if loop is None:
            raise ValueError(
                'EvaluateTeacherHook has nothing to validate on: give val_dataloader, '
                'val_evaluator and val_cfg, or remove the hook'
            )
        # Exits and peers are not the teacher's.
        ours = [m for m in loop.evaluator.metrics if not isinstance(m, OutputAccuracy)]
        evaluator = Evaluator(ours)
        evaluator.dataset_meta = loop.dataloader.dataset.metainfo
        classes = len(evaluator.dataset_meta.get('classes') or ())
        for name, teacher in getattr(model, 'teachers', {}).items():
            prefix = name or 'teacher'
            if not getattr(teacher.model, 'with_head', True):
                runner.logger.info(f'{prefix} has no head, so there is nothing to evaluate')
                continue
            # A data loader draws a seed.
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                for batch in loop.dataloader:
                    samples = teacher.predict(batch)
                    evaluator.process(data_samples=samples, data_batch=batch)
            found = evaluator.evaluate(len(loop.dataloader.dataset))
            self.metrics[prefix] = found
            named = {f'{prefix}/{key}': value for key, value in found.items()}
            runner.logger.info('  '.join(f'{key}: {value:.4f}' for key, value in named.items()))
            runner.visualizer.add_scalars(named, step=0)
            for key, value in found.items():
                chance = _chance(key, classes)
                if chance is not None and value < chance:
                    runner.logger.warning(
                        f'{prefix}/{key} is {value:.4g}, near chance: the teacher teaches noise; '
                        f'look at its checkpoint, its classes and its normalisation ({teacher.key})'
                    )

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        for prefix, found in self.metrics.items():
            for key in found.keys() & (metrics or {}).keys():
                better = _chance(key, 1) is not None and metrics[key] > found[key]
                if better and prefix not in self._warned:
                    self._warned.add(prefix)
                    runner.logger.warning(
                        f'{key} of the student is {metrics[key]:.4g}, above {found[key]:.4g} of '
                        f'{prefix}: from here on its terms may hold the student back; end them '
                        'earlier, or take a better teacher'
                    )


def _chance(key: str, classes: int) -> float | None:
    """What is near chance for a metric; None for one that is not looked at."""
    if key.endswith('accuracy/top1') and classes:
        return 2 * 100 / classes
    return 0.01 if key.endswith('_mAP') else None

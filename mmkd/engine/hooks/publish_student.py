"""Leave a plain student in the work directory when training ends."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from mmkd.plain import own_metric
from mmkd.publish import distiller, publish
from mmkd.registry import HOOKS


@HOOKS.register_module()
class PublishStudentHook(Hook):
    """Write ``student.pth`` and ``student.py`` to the work directory after training.

    They are the last checkpoint's student as a plain model (:func:`mmkd.publish.publish`); of
    several peers the second goes to ``student2.*``, and so on. Where ``CheckpointHook`` keeps best
    checkpoints, there are more:

    * With one metric in ``save_best``, ``best_student.*``, ``best_student2.*`` are all peers of
      the one epoch in which that metric was best.
    * With several, ``best_student2.*`` is from the best epoch by the first metric of the second
      peer itself, such as ``accuracy/net2_top1`` of :class:`~mmkd.evaluation.OutputAccuracy`. A
      metric of no single peer gives ``best_<metric>_student.*``, all peers of that epoch.

    Does nothing for a config that trains a plain model.

    Example:
        >>> default_hooks = dict(publish=dict(type='mmkd.PublishStudentHook'))
    """

    # After CheckpointHook, which is VERY_LOW.
    priority = 'LOWEST'

    @master_only
    def after_train(self, runner: Runner) -> None:
        if distiller(runner.cfg) is None:
            return
        last = runner.message_hub.get_info('last_ckpt')
        if last is None:
            runner.logger.warning(
                'No student was published, because no checkpoint was saved: set '
                'default_hooks.checkpoint.save_last=True'
            )
            return
        targets = [('student', last, None), *_best(runner)]
        for name, path, indices in targets:
            checkpoint = CheckpointLoader.load_checkpoint(path, 'cpu', logger='silent')
            target = Path(runner.work_dir, f'{name}.pth')
            publish(checkpoint, runner.cfg, target, indices=indices)


def _best(runner: Runner) -> list[tuple[str, str, list[int] | None]]:
    """File name without number and ending, checkpoint, and which students of it; None for all."""
    names = distiller(runner.cfg).output_names(runner.cfg.model)
    targets, taken = [], set()
    for key, path in runner.message_hub.runtime_info.items():
        if key == 'best_ckpt':
            targets.append(('best_student', path, None))
        elif key.startswith('best_ckpt_'):
            metric = key.removeprefix('best_ckpt_')
            owners = [i for i, name in enumerate(names) if own_metric(metric, name)]
            if owners and taken.isdisjoint(owners):
                taken.update(owners)
                targets.append(('best_student', path, owners))
            else:
                name = f'best_{metric.replace("/", "_")}_student'
                targets.append((name, path, owners or None))
    return targets

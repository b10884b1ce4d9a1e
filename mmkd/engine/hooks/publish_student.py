"""Leave a plain student in the work directory when training ends."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from mmkd.publish import distiller, publish
from mmkd.registry import HOOKS


@HOOKS.register_module()
class PublishStudentHook(Hook):
    """Write ``student.pth`` and ``student.py`` to the work directory after training.

    They are the last checkpoint's student as a plain model (:func:`mmkd.publish.publish`). Where
    ``CheckpointHook`` keeps a best checkpoint, ``best_student.pth`` and ``best_student.py`` are
    that one's; with several metrics, ``best_<metric>_student.*``. Does nothing for a config that
    trains a plain model.

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
        found = {'student': last}
        for key, path in runner.message_hub.runtime_info.items():
            if key == 'best_ckpt' or key.startswith('best_ckpt_'):
                metric = key.removeprefix('best_ckpt').replace('/', '_')
                found[f'best{metric}_student'] = path
        for name, path in found.items():
            checkpoint = CheckpointLoader.load_checkpoint(path, 'cpu', logger='silent')
            publish(checkpoint, runner.cfg, Path(runner.work_dir, f'{name}.pth'))

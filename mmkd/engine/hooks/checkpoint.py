"""MMEngine's checkpoints, of which no crash can take the last one."""

from __future__ import annotations

import os
import re
from collections import deque
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, get_world_size, is_main_process
from mmengine.fileio import isfile, join_path
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmkd.engine.resume import check_resumable
from mmkd.files import remove_parts, write_whole
from mmkd.publish import differences

from .unwrapped import unwrapped

#: In a checkpoint's ``meta``: how many images a step had, in how many processes.
_BATCH = 'mmkd_batch'
#: In the message hub: the iteration whose validation a checkpoint knows of.
_VALIDATED = 'mmkd_validated_iter'
#: In the message hub: names of best checkpoints to remove when better ones are written.
_SUPERSEDED = 'mmkd_superseded'


@MMENGINE_HOOKS.register_module(name='CheckpointHook', force=True)
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's hook of that name, in whose place it is registered; arguments are the same.

    * A checkpoint is written whole (:class:`mmkd.files.WholeFileBackend`), then ``last_checkpoint``
      names it, and only then is an old one removed. So it is with the best checkpoint.
    * A checkpoint that does not fit the model, or that was trained with another number of images a
      step, is not resumed.
    * What a checkpoint says of files counts only where it lies itself in the folder of checkpoints,
      and only as names of checkpoints in that folder: it can name nothing else to remove.
    * A run resumed between an epoch and its validation validates first where ``save_best`` or a
      schedule needs it, so that it has the best checkpoint of an uninterrupted run.
    """

    def before_train(self, runner: Runner) -> None:
        """Clean up after a crash.

        Raises:
            RuntimeError: If the processes of a run do not go on from the same iteration.
        """
        iterations = all_gather_object(runner.iter)
        if len(set(iterations)) > 1:
            raise RuntimeError(
                f'--resume: the processes would go on at iterations {iterations}, expected the '
                f'same; put {runner.work_dir} where all machines see it'
            )
        super().before_train(runner)
        for folder in {self.out_dir, runner.work_dir}:
            if is_main_process() and os.path.isdir(folder):
                remove_parts(folder)
        self._remove_superseded(runner)
        if (self.save_best or _is_scheduled_by_metric(runner)) and _awaits_validation(runner):
            runner.logger.info('The validation that the resumed run had not come to is run now')
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        runner.message_hub.update_info(_VALIDATED, runner.iter)
        super().after_val_epoch(runner, metrics)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint['meta'][_BATCH] = _batch(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check a checkpoint that is resumed, before anything of it is used.

        Raises:
            ValueError: If it does not fit the model, or was trained with other batches.
        """
        if not runner._resume:
            return
        source = runner._load_from or 'the checkpoint'
        check_resumable(checkpoint, source)
        model = unwrapped(runner)
        weights = {k.removeprefix('module.'): v for k, v in checkpoint['state_dict'].items()}
        # A process that has a shard knows no shapes.
        own = getattr(getattr(runner, 'strategy', None), 'whole_state', None)
        found = differences(own or model.state_dict(), weights)
        if found is not None:
            raise ValueError(
                f'--resume: {source} does not fit the {type(model).__name__} of this config: '
                f'{found}; give a checkpoint of this config, or another --work-dir to start from '
                'the beginning'
            )
        then, now = checkpoint['meta'].get(_BATCH), _batch(runner)
        if isinstance(then, dict) and then.keys() == now.keys() and then != now:
            _check_batch(runner, source, then, now)
        self._forget_foreign_files(runner, checkpoint['message_hub'])

    def _forget_foreign_files(self, runner: Runner, message_hub: dict[str, Any]) -> None:
        """Reduce what a message hub says of files to checkpoints that are in their folder."""
        folder, source = self._folder(runner), runner._load_from
        at_home = source is None or os.path.dirname(_absolute(source)) == _absolute(folder)
        info = message_hub['runtime_info']
        name = r'\d+'.join(map(re.escape, re.split(r'{.*?}', self.filename_tmpl)))
        for key in [key for key in info if str(key).startswith('best_ckpt')]:
            # The score is that of the file.
            score = key.replace('best_ckpt', 'best_score', 1)
            best = os.path.basename(str(info[key]))
            file = join_path(folder, best, backend_args=self.backend_args)
            if (
                at_home
                and re.fullmatch(f'best_[^/]+_{name}', best)
                and isfile(file, backend_args=self.backend_args)
            ):
                info[key] = file
                continue
            runner.logger.info(
                f'--resume: the best checkpoint {info[key]} is none of this folder, {folder}; the '
                'best is looked for from here on'
            )
            del info[key]
            info.pop(score, None)
        steps, names = info.pop('keep_ckpt_ids', []), info.pop(_SUPERSEDED, [])
        if at_home:
            best = f'best_[^/]+_{name}'
            info[_SUPERSEDED] = [n for n in _listed(names, str) if re.fullmatch(best, n)]
            info['keep_ckpt_ids'] = _listed(steps, int)
        if source is not None:
            info['last_ckpt'] = source

    def _folder(self, runner: Runner) -> str:
        if self.out_dir is None:
            return runner.work_dir
        # As MMEngine's before_train, which comes later, does.
        name = os.path.basename(runner.work_dir)
        return join_path(str(self.out_dir), name, backend_args=self.backend_args)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """As MMEngine's, in an order that keeps a checkpoint at every moment."""
        kept = []
        if self.max_keep_ckpts > 0:
            kept = [*(s for s in self.keep_ckpt_ids if s != step), step]
            # With the ones to remove: a run resumed from this checkpoint removes what is left.
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            write_whole(Path(runner.work_dir, 'last_checkpoint'), self.last_ckpt.encode())
            for old in kept[: -self.max_keep_ckpts]:
                self._remove(
                    self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
                )
        if kept:
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        if not self.save_best:
            return
        before = self._best()
        names = [os.path.basename(path) for path in before.values() if path]
        runner.message_hub.update_info(_SUPERSEDED, names)
        # What MMEngine does not know it does not remove before it writes the new one.
        self._set_best(dict.fromkeys(before))
        super()._save_best_checkpoint(runner, metrics)
        after = self._best()
        self._set_best({key: path or before.get(key) for key, path in after.items()})
        self._remove_superseded(runner)

    def _remove_superseded(self, runner: Runner) -> None:
        """Remove the best checkpoints of before; also of a run killed before it came to that."""
        names = runner.message_hub.runtime_info.get(_SUPERSEDED, [])
        for path in [self.file_backend.join_path(self.out_dir, name) for name in names]:
            if path not in self._best().values() and is_main_process():
                self._remove(path)
                runner.logger.info(f'The previous best checkpoint {path} is removed')
        runner.message_hub.update_info(_SUPERSEDED, [])

    def _best(self) -> dict[str | None, str | None]:
        """The best checkpoint by each metric, of a single one under the key None."""
        if not self.save_best:
            return {}
        if len(self.key_indicators) == 1:
            return {None: self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best(self, paths: dict[str | None, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths[None]
        else:
            self.best_ckpt_path_dict = paths

    def _remove(self, path: str) -> None:
        if self.file_backend.isdir(path):
            # As DeepSpeed saves.
            self.file_backend.rmtree(path)
        elif self.file_backend.isfile(path):
            self.file_backend.remove(path)


def _absolute(path: str) -> str:
    return path if '://' in path else os.path.realpath(path)


def _listed(values: Any, kind: type) -> list:
    return [value for value in values if type(value) is kind] if isinstance(values, list) else []


def _is_scheduled_by_metric(runner: Runner) -> bool:
    schedulers = runner.param_schedulers or []
    groups = schedulers.values() if isinstance(schedulers, dict) else [schedulers]
    return any(getattr(one, 'need_val_args', False) for group in groups for one in group)


def _awaits_validation(runner: Runner) -> bool:
    """Whether a resumed run stands between a step and the validation due after it."""
    loop = runner.train_loop
    if (
        runner.iter == 0
        or runner.val_loop is None
        or runner.message_hub.runtime_info.get(_VALIDATED) == runner.iter
        or not isinstance(loop, (EpochBasedTrainLoop, IterBasedTrainLoop))
    ):
        return False
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    done, end = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
    loop._decide_current_val_interval()
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)


def _batch(runner: Runner) -> dict[str, int | None]:
    sampler = runner.train_dataloader.batch_sampler
    return dict(processes=get_world_size(), images=getattr(sampler, 'batch_size', None))


def _check_batch(runner: Runner, source: str, then: dict, now: dict) -> None:
    """Refuse other steps than those whose number the checkpoint holds; say if only shared anew."""
    words = [f'{b["processes"]} x {b["images"]} images a step' for b in (then, now)]
    totals = [b['processes'] * (b['images'] or 1) for b in (then, now)]
    if totals[0] != totals[1]:
        raise ValueError(
            f'--resume: {source} was trained with {words[0]} (processes x batch '
            f'size), found {words[1]}, by which its iterations and schedule '
            'would be others; resume with as many, or start anew from its weights with '
            '--cfg-options load_from=FILE'
        )
    runner.logger.warning(
        f'--resume: the checkpoint was trained with {words[0]} (processes x batch size) and '
        f'goes on with {words[1]}: as many, but not the same to the last bit'
    )

"""Which checkpoint a training goes on from, and whether it is one to go on from."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

_POINTER = 'last_checkpoint'
_UNREADABLE = (OSError, TypeError, ValueError, pickle.UnpicklingError)


def prepare_resume(cfg: Config, latest: bool = False) -> list[str]:
    """Write into ``cfg.load_from`` what a training with ``cfg.resume`` goes on from.

    That is the file that it names already, or the newest of the work directory that can be read.
    Where there is none, training starts from the beginning, with the weights that ``load_from``
    names.

    Args:
        cfg (Config): The runner's config.
        latest (bool): Whether the newest is meant, whatever ``load_from`` names. Defaults to False.

    Returns:
        list[str]: What to tell the user.

    Raises:
        OSError: If the file cannot be read.
        TypeError: If it holds something else than a dict.
        ValueError: If it is no checkpoint of training, or if the work directory has checkpoints and
            none can be read.
        pickle.UnpicklingError: If it holds what could run code.
    """
    strategy = (cfg.get('strategy') or {}).get('type', '')
    # They have formats of their own.
    if not cfg.get('resume') or strategy in ('DeepSpeedStrategy', 'ColossalAIStrategy'):
        return []
    if cfg.get('load_from') is not None and not latest:
        try:
            read_resumable(cfg.load_from)
        except _UNREADABLE as error:
            raise type(error)(f'--resume: {error}') from error
        return []
    said = []
    for path in _candidates(cfg):
        try:
            read_resumable(path)
        except _UNREADABLE as error:
            said.append(f'--resume passes over a checkpoint: {error}')
            continue
        cfg.load_from = path
        return [*said, f'--resume: training goes on from {path}'] if said else []
    if said:
        raise ValueError(
            f'--resume: {cfg.work_dir} has checkpoints, and none can be resumed; remove them to '
            f'start from the beginning, or name another file. {said[0]}'
        )
    cfg.resume = False
    return [
        f'--resume: there is no checkpoint in {cfg.work_dir}; training starts from the beginning'
    ]


def _candidates(cfg: Config) -> list[str]:
    """The checkpoints of a work directory: what ``last_checkpoint`` names, then by age."""
    work_dir = Path(cfg.work_dir).absolute()
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    folder = Path(hook['out_dir'], work_dir.name) if hook.get('out_dir') else work_dir
    template = hook.get('filename_tmpl') or (
        'epoch_{}.pth' if hook.get('by_epoch', True) else 'iter_{}.pth'
    )
    name = re.compile(r'\d+'.join(map(re.escape, re.split(r'{.*?}', template))))
    found = [path for path in folder.glob('*') if name.fullmatch(path.name)]
    found.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    pointer = work_dir / _POINTER
    latest = pointer.read_text().strip() if pointer.is_file() else ''
    if '://' in latest:
        return [latest]
    # By its name, as the work directory may have been moved since.
    found.sort(key=lambda path: path.name != Path(latest).name)
    return list(map(str, found))


def read_resumable(filename: str) -> None:
    """Read a file and check that it holds what training goes on from.

    Args:
        filename (str): Path or URL.

    Raises:
        OSError, TypeError, ValueError, pickle.UnpicklingError: With the file's name and the reason.
    """
    checkpoint = CheckpointLoader.load_checkpoint(filename, 'cpu', logger='silent')
    check_resumable(checkpoint, filename)


def check_resumable(checkpoint: dict[str, Any], filename: str) -> None:
    """Check that a checkpoint holds what training goes on from, and not weights alone.

    Args:
        checkpoint (dict): What is in the file.
        filename (str): Its name, for messages.

    Raises:
        ValueError: If it does not.
    """
    parts = ('state_dict', 'meta', 'message_hub', 'optimizer')
    missing = [part for part in parts if not isinstance(checkpoint.get(part), dict)]
    if missing:
        raise ValueError(
            f'{filename} has no {" and no ".join(missing)}: found weights alone, expected a '
            'checkpoint of training such as epoch_1.pth; give one, or start from these weights '
            'with --cfg-options load_from=FILE in place of --resume'
        )
    if not isinstance(checkpoint['message_hub'].get('runtime_info'), dict):
        raise ValueError(
            f'{filename}: its message_hub has no runtime_info; give a checkpoint that '
            'training wrote'
        )
    for key in ('epoch', 'iter'):
        value = checkpoint['meta'].get(key)
        if type(value) is not int or value < 0:
            raise ValueError(
                f'{filename}: its meta.{key} is {value!r}, expected a whole number; give a '
                'checkpoint that training wrote'
            )

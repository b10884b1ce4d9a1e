"""From a distiller's config and checkpoint to a plain model's.

A published student is an ordinary mmdet or mmpretrain model: its config names no distiller, its
state dict has no prefix, no adapter and no teacher.
"""

from __future__ import annotations

import copy
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmkd.version import __version__

#: Prefix of the student's weights in a distiller's state dict.
STUDENT_PREFIX = 'student.'


def is_distiller(model: dict) -> bool:
    """Whether a model config trains a student."""
    return 'student' in model


def plain_model(cfg: Config) -> ConfigDict:
    """Return the config of the plain model that ``cfg`` trains, with its data preprocessor."""
    model = copy.deepcopy(cfg.model.student if is_distiller(cfg.model) else cfg.model)
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if preprocessor is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(preprocessor))
    return model


def plain_config(cfg: Config) -> Config:
    """Return a config of the student alone.

    Hooks of mmkd are left out, and so is the import of mmkd unless something else lives there.

    Args:
        cfg (Config): A distiller's config; a plain one is returned as it is, copied.

    Returns:
        Config: A config that mmdet or mmpretrain load by themselves.
    """
    cfg = copy.deepcopy(cfg)
    if not is_distiller(cfg.model):
        return cfg
    cfg.model = plain_model(cfg)
    cfg.pop('load_from', None)
    cfg.resume = False
    for name in ('default_hooks', 'custom_hooks'):
        hooks = cfg.get(name)
        if isinstance(hooks, dict):
            cfg[name] = {k: v for k, v in hooks.items() if not _is_ours(v)}
        elif hooks:
            cfg[name] = [v for v in hooks if not _is_ours(v)]
    imports = cfg.get('custom_imports')
    if imports and not _mentions_mmkd({k: v for k, v in cfg.items() if k != 'custom_imports'}):
        modules = imports['imports']
        modules = [modules] if isinstance(modules, str) else list(modules)
        imports['imports'] = [m for m in modules if m.split('.')[0] != 'mmkd']
        if not imports['imports']:
            cfg.pop('custom_imports')
    return cfg


def _is_ours(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get('type', '')).startswith('mmkd.')


def _mentions_mmkd(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_ours(value) or any(_mentions_mmkd(v) for v in value.values())
    return isinstance(value, (list, tuple)) and any(_mentions_mmkd(v) for v in value)


def plain_state_dict(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return the student's part of a distiller's state dict; a plain one as it is."""
    student = {
        key.removeprefix(STUDENT_PREFIX): value
        for key, value in state_dict.items()
        if key.startswith(STUDENT_PREFIX)
    }
    return student or dict(state_dict)


def load_plain(model: nn.Module, checkpoint: str, what: str) -> None:
    """Load a checkpoint, a distiller's or a plain one, into a plain model, key by key.

    Args:
        model (nn.Module): The model, wrapped for distributed use or not.
        checkpoint (str): Path or URL of the checkpoint.
        what (str): What the checkpoint is to the user, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a weight is missing, unexpected or of another shape.
    """
    try:
        loaded = CheckpointLoader.load_checkpoint(checkpoint, 'cpu', logger='silent')
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{what}: there is no file {checkpoint!r}') from error
    state_dict = plain_state_dict(loaded.get('state_dict', loaded))
    model = model.module if is_model_wrapper(model) else model
    own = model.state_dict()
    reshaped = [
        f'{k} {tuple(state_dict[k].shape)} instead of {tuple(own[k].shape)}'
        for k in own.keys() & state_dict.keys()
        if own[k].shape != state_dict[k].shape
    ]
    # BatchNorm's counter is absent from checkpoints of old torch versions.
    missing = [k for k in own.keys() - state_dict.keys() if not k.endswith('batches_tracked')]
    wrong = {
        'missing': missing,
        'unexpected': state_dict.keys() - own.keys(),
        'of another shape': reshaped,
    }
    if any(wrong.values()):
        found = '; '.join(
            f'{len(keys)} {kind} (such as {min(keys)})' for kind, keys in wrong.items() if keys
        )
        raise ValueError(
            f'{what}: {checkpoint!r} does not fit {type(model).__name__} with its {len(own)} '
            f'weights: {found}. Use it with the config that trained it'
        )
    model.load_state_dict(state_dict, strict=False)


def plain_checkpoint(checkpoint: dict[str, Any], cfg: Config) -> dict[str, Any]:
    """Return what :func:`publish` saves: the student's weights and what a loader needs to know.

    Args:
        checkpoint (dict): A loaded checkpoint with ``state_dict`` and, usually, ``meta``.
        cfg (Config): The student's plain config; its text is kept in ``meta``.

    Returns:
        dict: ``state_dict`` and ``meta``, no optimizer and no history.
    """
    meta = checkpoint.get('meta', {})
    kept = {key: meta[key] for key in ('dataset_meta', 'epoch', 'iter', 'seed') if key in meta}
    return {
        'meta': {**kept, 'cfg': cfg.pretty_text, 'mmkd_version': __version__},
        'state_dict': plain_state_dict(checkpoint.get('state_dict', checkpoint)),
    }


def publish(checkpoint: dict[str, Any], cfg: Config, path: str | Path) -> None:
    """Write ``path`` (weights) and the config of the same name beside it.

    The files appear whole or not at all: each is written under another name and then moved.

    Args:
        checkpoint (dict): A loaded checkpoint of a distiller.
        cfg (Config): The config that trained it.
        path (str | Path): Where the weights go, such as ``work_dir/student.pth``; the config goes
            to the same name with the ending ``.py``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = plain_config(cfg)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        weights, config = Path(folder, 'student.pth'), Path(folder, 'student.py')
        torch.save(plain_checkpoint(checkpoint, plain), weights)
        plain.dump(config)
        os.replace(config, path.with_suffix('.py'))
        os.replace(weights, path)
    print_log(f'Published the student: {path} and {path.with_suffix(".py")}', logger='current')

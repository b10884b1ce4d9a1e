"""From a distiller's config and checkpoint to a plain model's.

A published student is an ordinary mmdet or mmpretrain model: its config names no distiller, its
state dict has no prefix, no adapter and no teacher.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmkd.files import write_whole
from mmkd.plain import DATA, keep_own_best, leave_out_foreign, leave_out_strategy
from mmkd.registry import MODELS
from mmkd.version import __version__


def distiller(cfg: Config) -> type | None:
    """Return the class that ``cfg.model`` names if it is a distiller, else None.

    A distiller is a registered class that says which students it trains
    (:class:`~mmkd.distillers.Distiller`), in mmkd's registry or in that of ``cfg.default_scope``.
    """
    kind = cfg.model.type
    if isinstance(kind, str):
        with MODELS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
            kind = registry.get(kind)
    return kind if hasattr(kind, 'students') else None


def plain_model(cfg: Config, index: int = 0, keep_exits: bool = False) -> ConfigDict:
    """Return the config of a plain model that ``cfg`` trains, with its data preprocessor.

    Args and result as for :func:`plain_config`.
    """
    model = copy.deepcopy(cfg.model)
    cls = distiller(cfg)
    if cls is not None:
        model = ConfigDict(cls.students(model, keep_exits)[index][1])
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if preprocessor is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(preprocessor))
    return model


def plain_config(cfg: Config, index: int = 0, keep_exits: bool = False) -> Config:
    """Return a config of a student alone.

    A hook, a metric or a variable stays if all types in it come from MMEngine, mmcv, mmdet,
    mmpretrain, torch, or a package in which also a type of the student's model, data, schedule or
    visualizer lives; hooks of mmkd never stay, and the last metric always does. An import stays if
    such a package needs it.

    Args:
        cfg (Config): A distiller's config; a plain one is returned as it is, copied.
        index (int): Which of several peers. Defaults to the first.
        keep_exits (bool): Whether a student with exits keeps them. Defaults to False, the network
            that they start from, as an ordinary model.

    Returns:
        Config: A config that mmdet or mmpretrain load by themselves; with exits, together with
        mmkd.
    """
    cfg = copy.deepcopy(cfg)
    cls = distiller(cfg)
    if cls is None:
        return cfg
    prefixes = [
        [prefix for prefix, _ in cls.students(cfg.model, keep)] for keep in (True, keep_exits)
    ]
    name = cls.output_names(cfg.model)[index]
    cfg.model = plain_model(cfg, index, keep_exits)
    # All parameters of a plain model are used.
    for key in ('load_from', 'model_wrapper_cfg', 'find_unused_parameters'):
        cfg.pop(key, None)
    leave_out_strategy(cfg)
    cfg.resume = False
    paramwise = cfg.get('optim_wrapper', {}).get('paramwise_cfg') or {}
    if 'student_constructor' in paramwise:
        cfg.optim_wrapper.constructor = paramwise.pop('student_constructor')
    custom_keys = paramwise.get('custom_keys')
    if custom_keys:
        paramwise.custom_keys = _own_keys(custom_keys, prefixes, index)
    keep_own_best(cfg, name)
    leave_out_foreign(cfg, keep_exits)
    for key in DATA:
        # mmpretrain's tools/train.py sets persistent_workers where it is not set.
        if (cfg.get(key) or {}).get('num_workers') == 0:
            cfg[key].setdefault('persistent_workers', False)
    return cfg


def _own_keys(keys: dict, prefixes: list[list[str]], index: int) -> dict:
    """Settings of parameters, named as the student of that index names them."""
    whole, plain = (of[index] for of in prefixes)
    others = tuple(prefix for prefix in prefixes[0] if prefix != whole)
    inner = plain.removeprefix(whole)
    return {
        key.removeprefix(whole).removeprefix(inner) if key.startswith(whole) else key: value
        for key, value in keys.items()
        if not key.startswith(others)
    }


def _without(prefix: str, state_dict: dict[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}


def read_checkpoint(checkpoint: str, what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the weights in a file and what it says of them.

    Args:
        checkpoint (str): Path or URL of the checkpoint.
        what (str): What the checkpoint is to the user, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        ConnectionError: If the address cannot be read.
        ValueError: If it is no checkpoint.
        TypeError: If it holds something else than weights.
        pickle.UnpicklingError: If it holds what could run code.
    """
    try:
        loaded = CheckpointLoader.load_checkpoint(checkpoint, 'cpu', logger='silent')
    except (OSError, ValueError, TypeError, pickle.UnpicklingError) as error:
        raise type(error)(f'{what}: {error}') from error
    return loaded.get('state_dict', loaded), loaded.get('meta') or {}


def is_training(cfg: Config, state_dict: dict[str, Any]) -> bool:
    """Whether weights are those of the distiller of ``cfg``, not of a published student."""
    cls = distiller(cfg)
    return cls is not None and any(
        key.startswith(prefix)
        for prefix, _ in cls.students(cfg.model, keep_exits=True)
        for key in state_dict
    )


def has_exits(cfg: Config, state_dict: dict[str, Any]) -> bool:
    """Whether weights, a distiller's or published, hold the exits of the student of ``cfg``."""
    cls = distiller(cfg)
    if cls is None:
        return False
    whole, plain = (cls.students(cfg.model, keep)[0][0] for keep in (True, False))
    inner = plain.removeprefix(whole)
    keys = list(_without(whole, state_dict) or state_dict)
    # Of a student with exits, the network alone has a prefix.
    return {bool(inner) and key.startswith(inner) for key in keys} == {True, False}


def load_plain(
    model: nn.Module,
    checkpoint: str | dict[str, Any],
    what: str,
    fix: str = 'Use it with the config that trained it',
) -> dict[str, Any]:
    """Load a checkpoint, a distiller's or a plain one, into a plain model, key by key.

    Args:
        model (nn.Module): The model, wrapped for distributed use or not.
        checkpoint (str | dict[str, Tensor]): Path or URL of the checkpoint, or the weights in it.
        what (str): What the checkpoint is to the user, for messages.
        fix (str): What to do where the weights do not fit, for messages.

    Returns:
        dict[str, Any]: What a file says of its weights (``meta``).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a weight is missing, unexpected, of another shape or not finite.
    """
    if isinstance(checkpoint, str):
        (state_dict, meta), name = read_checkpoint(checkpoint, what), repr(checkpoint)
    else:
        state_dict, meta, name = checkpoint, {}, 'what it holds'
    model = model.module if is_model_wrapper(model) else model
    own = model.state_dict()
    state_dict = _without(_prefix(own, state_dict), state_dict)
    found = differences(own, state_dict)
    if found is not None:
        raise ValueError(
            f'{what}: {name} does not fit {type(model).__name__} with its {len(own)} '
            f'weights: {found}. {fix}'
        )
    wrong = [
        key
        for key, value in state_dict.items()
        if torch.is_tensor(value) and not bool(value.isfinite().all())
    ]
    if wrong:
        raise ValueError(
            f'{what}: {name} holds numbers that are not finite, in {len(wrong)} weights such as '
            f'{wrong[0]}; expected a training that went well. Give an earlier checkpoint'
        )
    model.load_state_dict(state_dict, strict=False)
    return meta


def differences(own: dict[str, Tensor], state_dict: dict[str, Any]) -> str | None:
    """Say how weights differ in names and shapes from those of a model; None if they fit."""
    reshaped = [
        f'{k} {tuple(getattr(state_dict[k], "shape", ()))} instead of {tuple(own[k].shape)}'
        for k in own.keys() & state_dict.keys()
        if getattr(state_dict[k], 'shape', None) != own[k].shape
    ]
    # BatchNorm's counter is absent from checkpoints of old torch versions.
    missing = [k for k in own.keys() - state_dict.keys() if not k.endswith('batches_tracked')]
    wrong = {
        'missing': missing,
        'unexpected': state_dict.keys() - own.keys(),
        'of another shape': reshaped,
    }
    found = [f'{len(keys)} {kind} (such as {min(keys)})' for kind, keys in wrong.items() if keys]
    return '; '.join(found) or None


def _prefix(own: dict[str, Any], state_dict: dict[str, Any]) -> str:
    """Where a checkpoint, of training or with exits, holds a model; of several peers the first."""
    prefixes = Counter({'': 0})
    for key in state_dict:
        parts = key.split('.')
        for start in range(len(parts)):
            rest = '.'.join(parts[start:])
            if rest in own:
                prefixes[key.removesuffix(rest)] += 1
    return prefixes.most_common(1)[0][0]


def publish(
    checkpoint: dict[str, Any],
    cfg: Config,
    path: str | Path,
    keep_exits: bool = False,
    indices: Iterable[int] | None = None,
) -> list[Path]:
    """Write ``path`` (weights) and the config of the same name beside it.

    Of several peers, the first goes to ``student.pth``, the next to ``student2.pth``, and so on.
    Each file appears whole or not at all (:func:`mmkd.files.write_whole`).

    Args:
        checkpoint (dict): A loaded checkpoint of a distiller, or a plain model's.
        cfg (Config): The config that trained it.
        path (str | Path): Where the weights go, such as ``work_dir/student.pth``; the config goes
            to the same name with the ending ``.py``.
        keep_exits (bool): See :func:`plain_config`.
        indices (iterable of int, optional): Which of several peers. Defaults to all.

    Returns:
        list[Path]: The weights' files.

    Raises:
        ValueError: If the checkpoint holds no weights of a student.
    """
    paths = []
    for index in range(num_students(cfg)) if indices is None else indices:
        paths.append(published_path(path, index))
        _publish_one(checkpoint, cfg, paths[-1], index, keep_exits)
    return paths


def num_students(cfg: Config) -> int:
    """How many plain models a config trains."""
    cls = distiller(cfg)
    return 1 if cls is None else len(cls.students(cfg.model))


def published_path(path: str | Path, index: int) -> Path:
    """Where the student of that index goes: ``student.pth``, ``student2.pth``, ..."""
    path = Path(path)
    return path.with_stem(f'{path.stem}{index + 1}') if index else path


def student_state_dict(
    cfg: Config, state_dict: dict[str, Any], index: int = 0, keep_exits: bool = False
) -> dict[str, Any]:
    """Return the weights of a plain model among those of a checkpoint, by the model's names.

    Args:
        cfg (Config): The config that trained them; of a plain model, they are returned as they are.
        state_dict (dict[str, Any]): All weights.
        index (int): See :func:`plain_config`.
        keep_exits (bool): See :func:`plain_config`.

    Raises:
        ValueError: If there are none.
    """
    cls = distiller(cfg)
    if cls is None:
        return state_dict
    prefix = cls.students(cfg.model, keep_exits)[index][0]
    if not any(key.startswith(prefix) for key in state_dict):
        raise ValueError(
            f'the checkpoint holds no weights under {prefix!r}, which the config trains; give '
            'a checkpoint of a training run of this config'
        )
    return _without(prefix, state_dict)


def _publish_one(
    checkpoint: dict[str, Any], cfg: Config, path: Path, index: int, keep_exits: bool
) -> None:
    plain = plain_config(cfg, index, keep_exits)
    # Fine-tuning the student must not write over the run that it comes from.
    plain.pop('work_dir', None)
    state_dict = checkpoint.get('state_dict', checkpoint)
    state_dict = student_state_dict(cfg, state_dict, index, keep_exits)
    meta = checkpoint.get('meta', {})
    kept = {key: meta[key] for key in ('dataset_meta', 'epoch', 'iter', 'seed') if key in meta}
    published = {
        'meta': {**kept, 'cfg': plain.pretty_text, 'mmkd_version': __version__},
        'state_dict': state_dict,
    }
    weights = io.BytesIO()
    torch.save(published, weights)
    write_whole(path.with_suffix('.py'), plain.pretty_text.encode())
    write_whole(path, weights.getvalue())
    print_log(f'Published the student: {path} and {path.with_suffix(".py")}', logger='current')

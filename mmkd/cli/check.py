"""What a config has to be before a runner is built from it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS

from mmkd.build import check_arguments
from mmkd.distillers import OfflineDistiller
from mmkd.publish import distiller

#: Key to the least integer that it may be, where it is set.
_INTEGERS = {
    'train_cfg.max_epochs': 1,
    'train_cfg.max_iters': 1,
    'train_cfg.val_interval': 1,
    'train_dataloader.batch_size': 1,
    'train_dataloader.num_workers': 0,
    'val_dataloader.batch_size': 1,
    'val_dataloader.num_workers': 0,
    'optim_wrapper.accumulative_counts': 1,
    'randomness.seed': 0,
}
_FINITE = ('optim_wrapper', 'param_scheduler')
#: What training cannot do without, and what it holds.
_DICTS = {
    'model': "type='mmkd.OfflineDistiller', ...",
    'train_dataloader': 'batch_size=..., dataset=..., sampler=...',
    'train_cfg': 'by_epoch=True, max_epochs=...',
    'optim_wrapper': "optimizer=dict(type='SGD', lr=...)",
}

#: Constructors of mmpretrain and mmdet that ask a model for its layers, or know their names.
_KNOW_PLAIN_MODELS = (
    'LearningRateDecayOptimWrapperConstructor',
    'LearningRateDecayOptimizerConstructor',
)
#: Strategies of MMEngine with which a distiller trains.
_STRATEGIES = ('SingleDeviceStrategy', 'DDPStrategy', 'FSDPStrategy')
#: Hooks that compute with the model, or average its weights, past what shards them.
_NEED_WHOLE_MODELS = ('EMAHook', 'GradientShareHook', 'PretrainHook')


def _leaves(value: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """Every key that holds no dict or list, with what it holds."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f'{key}.{name}' if key else str(name))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _leaves(item, f'{key}[{index}]')
    else:
        yield key, value


def check_training_config(cfg: Config, name: str) -> None:
    """Refuse a config from which no runner can be built, or none that trains.

    Args:
        cfg (Config): The config, with the options of the command line.
        name (str): Its file, for messages.

    Raises:
        ValueError: If a key is missing, holds something else than a dict, a number is not finite
            or too small, compile is what torch cannot do here, or a distiller does not train under
            the strategy, or with the constructor of the optimizer wrapper.
        TypeError: If compile has an argument that torch.compile has not.
    """
    for key, example in _DICTS.items():
        if not isinstance(cfg.get(key), Mapping):
            raise ValueError(
                f'{name}: {key} is {"missing" if key not in cfg else repr(cfg[key])}, expected '
                f'{key}=dict({example})'
            )
    kind = (cfg.optim_wrapper.get('optimizer') or {}).get('type')
    with OPTIMIZERS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        if isinstance(kind, str) and registry.get(kind) is None:
            raise ValueError(
                f'{name}: optim_wrapper.optimizer.type={kind!r} is not registered; expected a '
                'class of torch.optim, or one of a module that custom_imports names'
            )
    for key, value in _leaves(cfg.to_dict()):
        # Some of mmdet's settings end at infinity.
        is_wrong = math.isnan if not key.startswith(_FINITE) else lambda x: not math.isfinite(x)
        if isinstance(value, float) and is_wrong(value):
            raise ValueError(f'{name}: {key}={value}, expected a finite number')
        least = _INTEGERS.get(key)
        if least is None or value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f'{name}: {key}={value!r}, expected an integer of {least} or more')
    if distiller(cfg) is not None:
        _check_constructor(cfg.optim_wrapper.get('constructor'), name)
        if cfg.get('strategy') is not None:
            _check_strategy(cfg, name)
    _check_compile(cfg.get('compile'), name)


def _check_constructor(constructor: Any, name: str) -> None:
    """Refuse a constructor of parameter groups that finds no plain model in a distiller."""
    if _name(dict(type=constructor)) in _KNOW_PLAIN_MODELS:
        raise ValueError(
            f'{name}: optim_wrapper.constructor={constructor!r} groups the parameters of a plain '
            "model, not of a distiller; set it to 'mmkd.StudentOptimWrapperConstructor', and "
            f'optim_wrapper.paramwise_cfg.student_constructor={constructor!r}'
        )


def _check_strategy(cfg: Config, name: str) -> None:
    """Refuse a strategy that would be ignored, or under which a distiller does not train."""
    kind = _name(cfg.strategy)
    if cfg.get('runner_type') is None:
        raise ValueError(
            f"{name}: strategy is read by MMEngine's FlexibleRunner alone; add "
            "runner_type='FlexibleRunner', or remove strategy"
        )
    if kind not in _STRATEGIES:
        raise ValueError(
            f'{name}: strategy.type={kind!r} has not been tried with distillers, and a student is '
            f'published from a whole checkpoint; take one of {", ".join(_STRATEGIES)}'
        )
    if kind != 'FSDPStrategy':
        return
    hooks = [*cfg.get('default_hooks', {}).values(), *(cfg.get('custom_hooks') or ())]
    for hook in {_name(hook) for hook in hooks} & {*_NEED_WHOLE_MODELS}:
        raise ValueError(
            f'{name}: {hook} needs the whole model in every process, and strategy.type='
            "'FSDPStrategy' leaves a shard there; remove the hook, or the strategy"
        )
    units = (cfg.strategy.get('model_wrapper') or {}).get('auto_wrap_policy')
    if units is not None and not issubclass(distiller(cfg), OfflineDistiller):
        raise ValueError(
            f'{name}: strategy.model_wrapper.auto_wrap_policy={units!r} makes units of networks '
            f'into which a {distiller(cfg).__name__} calls past their forward; remove it'
        )


def _name(cfg: Any) -> str | None:
    """The type of a config, without a scope."""
    kind = cfg.get('type') if isinstance(cfg, Mapping) else None
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', None)


def _check_compile(given: Any, name: str) -> None:
    """Refuse here what torch.compile would refuse in the first step."""
    if given is None or given is False:
        return
    options = {} if given is True else given
    if not isinstance(options, Mapping):
        raise ValueError(
            f'{name}: compile={given!r}, expected True, False or a dict of what torch.compile '
            "takes, such as compile=dict(backend='inductor')"
        )
    check_arguments('compile', torch.compile, options)
    backend, known = options.get('backend', 'inductor'), torch.compiler.list_backends(())
    if isinstance(backend, str) and backend not in known:
        raise ValueError(
            f'{name}: compile.backend={backend!r} is unknown, expected one of {", ".join(known)}'
        )
    if backend != 'inductor' or torch.cuda.is_available():
        return
    from torch._inductor.config import cpp

    compilers = [command for command in cpp.cxx if command]
    if not any(map(shutil.which, compilers)):
        raise ValueError(
            f'{name}: compile={given!r} makes C++ without a GPU, and there is no compiler '
            f'{" or ".join(compilers)}; install one, name it in the environment variable CXX, or '
            'train without compile'
        )

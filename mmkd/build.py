"""Build a part of a model's config, with errors that name its key."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from torch import nn

from mmkd.registry import MODELS


def is_shape(value: Any, length: int) -> bool:
    """Whether a value is that many positive integers, such as a height and a width."""
    return (
        isinstance(value, Sequence)
        and len(value) == length
        and all(isinstance(n, int) and n > 0 for n in value)
    )


def check_arguments(key: str, function: Callable, given: Mapping[str, Any]) -> None:
    """Hold what a config gives against a signature: names, and numbers where it says so.

    A parameter annotated ``float`` takes a finite number, ``int`` an integer, ``bool`` a boolean;
    one whose name ends with ``weight`` takes no negative number. Others are not looked at.

    Args:
        key (str): Where the arguments are in the config, such as ``'losses.kd'``.
        function (Callable): What is called with them.
        given (Mapping[str, Any]): The arguments.

    Raises:
        TypeError: If there is no such parameter, or an argument is of another type.
        ValueError: If a number is not finite, or a weight negative.
    """
    parameters = inspect.signature(function).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, value in given.items():
        if name in parameters:
            _check_number(f'{key}.{name}', value, parameters[name].annotation)
        elif not takes_any:
            raise TypeError(
                f'{key}.{name}={value!r} is unknown: {function.__name__} takes '
                f'{", ".join(parameters) or "no arguments"}{_nearest(name, parameters)}'
            )


def _check_number(key: str, value: Any, annotation: Any) -> None:
    kinds = set(str(getattr(annotation, '__name__', annotation)).split(' | '))
    if not kinds <= {'float', 'int', 'bool', 'None'} or (value is None and 'None' in kinds):
        return
    if isinstance(value, bool):
        right, expected = 'bool' in kinds, 'a number'
    elif 'float' in kinds:
        right, expected = isinstance(value, Real), 'a number'
    elif 'int' in kinds:
        right, expected = isinstance(value, Integral), 'an integer'
    else:
        right, expected = False, 'True or False'
    if not right:
        raise TypeError(f'{key}={value!r} is a {type(value).__name__}, expected {expected}')
    if not math.isfinite(value):
        raise ValueError(f'{key}={value!r}, expected a finite number')
    if key.endswith('weight') and value < 0:
        raise ValueError(f'{key}={value!r} is negative, expected 0 or more')


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(str(name), [str(key) for key in known], n=3)
    return f'; nearest: {", ".join(near)}' if near else ''


def check_config(key: str, cfg: Any, example: str) -> None:
    """Refuse what is no config of a module.

    Args:
        key (str): Where it is in the config, such as ``'model.student'``.
        cfg (Any): What is there.
        example (str): What could be there, for the message.

    Raises:
        TypeError: If it is no dict.
        ValueError: If it has no ``type``.
    """
    if not isinstance(cfg, Mapping):
        raise TypeError(f'{key}={cfg!r} is a {type(cfg).__name__}, expected a dict: {example}')
    if 'type' not in cfg:
        raise ValueError(f'{key}.type is missing, found {sorted(map(str, cfg))}: give {example}')


def build(key: str, cfg: Any, base: type[nn.Module], example: str) -> nn.Module:
    """Build a module of mmkd, or of a project that adds to its registry.

    Args:
        key (str): Where it is in the config, such as ``'losses.kd'``.
        cfg (dict): Its config.
        base (type): What it has to be a subclass of.
        example (str): A right config, for messages.

    Raises:
        TypeError: If it is of another type, or an argument is.
        ValueError: If the type is missing or unknown, or an argument's value is refused.
    """
    check_config(key, cfg, example)
    given = {name: value for name, value in cfg.items() if name not in ('type', '_scope_')}
    kind = cfg['type']
    if isinstance(kind, str):
        with MODELS.switch_scope_and_registry('mmkd') as registry:
            kind = registry.get(kind)
        if kind is None:
            raise ValueError(
                f'{key}.type={cfg["type"]!r} is not registered'
                f'{_nearest(cfg["type"], MODELS.module_dict)}; what a project registers itself '
                'needs its module in custom_imports'
            )
    if not isinstance(kind, type) or not issubclass(kind, base):
        name = kind.__name__ if isinstance(kind, type) else repr(kind)
        raise TypeError(
            f'{key}.type={cfg["type"]!r} is {name}, expected a subclass of '
            f'{base.__module__.rpartition(".")[0]}.{base.__name__}'
        )
    check_arguments(key, kind, given)
    try:
        return kind(**given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise type(error)(f'{key}: {error}') from error

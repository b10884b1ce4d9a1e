"""Configs of mmkd by name: ``'mmkd::demo/digits_kd.py'``, from a clone or an installed package."""

from __future__ import annotations

import functools
from collections.abc import Callable

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import get_config

_NAME = 'mmkd'


def read_config(name: str, key: str) -> Config:
    """Read a config file, or one of an installed package.

    Args:
        name (str): Path of the file, or ``'package::name.py'``.
        key (str): What the config is to the user, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    try:
        return get_config(name) if '::' in name else Config.fromfile(name)
    except FileNotFoundError as error:
        missing = error.filename or name
        where = '' if missing == name else f', which {name} needs'
        raise FileNotFoundError(f'{key}: there is no file {missing!r}{where}') from error
    except (ImportError, ValueError) as error:
        if '::' not in name:
            raise
        raise FileNotFoundError(
            f'{key}: there is no config {name!r} in an installed package; expected '
            "'package::folder/name.py', such as 'mmpretrain::resnet/resnet18_8xb32_in1k.py'"
        ) from error


def _without_scope(find: Callable[[str, str], tuple[str, str | None]]) -> Callable:
    @functools.wraps(find)
    def wrapper(cfg_path: str, filename: str) -> tuple[str, str | None]:
        path, scope = find(cfg_path, filename)
        return path, None if scope == _NAME else scope

    wrapper.is_wrapped = True
    return wrapper


def _once(lay_out: Callable[[Config], str]) -> Callable[[Config], str]:
    @functools.wraps(lay_out)
    def wrapper(config: Config) -> str:
        content = repr(config._cfg_dict)
        if vars(config).get('_laid_out', ('',))[0] != content:
            # Not an entry of the config, as an attribute set in the ordinary way would be.
            vars(config)['_laid_out'] = content, lay_out(config)
        return vars(config)['_laid_out'][1]

    wrapper.is_wrapped = True
    return wrapper


def lay_out_once() -> None:
    """Let MMEngine lay out a config once, not for each checkpoint that it is saved in. Idempotent.

    yapf takes 0.05 to 0.4 s, which is an epoch of few images.
    """
    lay_out = Config.pretty_text.fget
    if not hasattr(lay_out, 'is_wrapped'):
        Config.pretty_text = property(_once(lay_out))


def know_own_configs() -> None:
    """Let MMEngine find mmkd's configs, as names and as ``_base_``. Idempotent.

    MMEngine builds what a base of another package holds in the scope of that package. Our configs
    are written in the scope of mmdet or mmpretrain, their ``default_scope``.
    """
    # A module is looked for where it is imported from, an installed distribution in site-packages,
    # where an editable one is not.
    MODULE2PACKAGE[_NAME] = f'{_NAME}.version'
    if not hasattr(Config._get_cfg_path, 'is_wrapped'):
        Config._get_cfg_path = staticmethod(_without_scope(Config._get_cfg_path))


know_own_configs()
lay_out_once()

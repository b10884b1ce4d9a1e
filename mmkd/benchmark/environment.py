"""On what something was measured."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mmkd.stack import installed_stack
from mmkd.version import __version__

from .process import gpus


def _commit() -> str | None:
    """The commit of a clone of mmkd, and whether it has changes."""
    root = Path(__file__).parents[2]
    if not (root / '.git').exists():
        return None
    git = ['git', '-C', str(root), 'describe', '--always', '--dirty', '--exclude=*']
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _package(name: str) -> str:
    try:
        return f'{name} {version(name)}'
    except PackageNotFoundError:  # on a PYTHONPATH
        return f'{name} of unknown version'


def _processor() -> str:
    try:
        found = re.search(r'^model name\s*: (.*)$', Path('/proc/cpuinfo').read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def environment(processes: str) -> dict[str, str | Sequence[str]]:
    """Versions and hardware, as they are now.

    Args:
        processes (str): How many run at once, with how many threads.
    """
    commit = _commit()
    stack = installed_stack()
    packages = ('torch', *stack.others, stack.mmcv, 'numpy')
    mmkd = f'mmkd {__version__}' + (f' ({commit})' if commit else '')
    devices = [torch.cuda.get_device_name(index) for index in range(len(gpus()))]
    cores = len(os.sched_getaffinity(0))
    return dict(
        versions=[mmkd, f'Python {platform.python_version()}', *map(_package, packages)],
        hardware=[f'{cores} cores of {_processor()}', *(devices or ['no GPU'])],
        processes=processes,
    )

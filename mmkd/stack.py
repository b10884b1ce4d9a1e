"""The two stacks that mmkd runs on, and whether what is installed fits (docs/stacks.md)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

import torch

# What mmcv compiles against: from 2.14 on, torch's headers want C++20.
TORCH_MINIMUM, TORCH_MAXIMUM = '2.4', '2.14'


@dataclass(frozen=True)
class Stack:
    """Packages that are imported as mmcv, mmengine, mmdet and mmpretrain.

    Attributes:
        extra: The extra of mmkd that installs them, all but mmcv.
        mmcv: The package that brings mmcv.
        others: The packages that bring the rest.
        mmcv_minimum: The least version of mmcv that fits.
        mmcv_maximum: The least version above it that does not.
        mmcv_tested: The version that the tests run with.
        transformers_maximum: The least version of transformers beside which its mmpretrain fails
            as it is imported. Nothing here needs transformers, but many environments have it.
    """

    extra: str
    mmcv: str
    others: tuple[str, ...]
    mmcv_minimum: str
    mmcv_maximum: str
    mmcv_tested: str
    transformers_maximum: str


OPENMMLAB = Stack(
    extra='openmmlab',
    mmcv='mmcv',
    others=('mmengine', 'mmdet', 'mmpretrain'),
    mmcv_minimum='2.0.0',  # both of what mmdet 3.3.0 and mmpretrain 1.2.0 accept
    mmcv_maximum='2.2.0',
    mmcv_tested='2.1.0',
    transformers_maximum='4.52',
)
ONEDL = Stack(
    extra='onedl',
    mmcv='onedl-mmcv',
    others=('onedl-mmengine', 'onedl-mmdetection', 'onedl-mmpretrain'),
    mmcv_minimum='2.3.0',
    mmcv_maximum='2.4.0',  # what onedl-mmpretrain 1.3.6 accepts
    mmcv_tested='2.3.6',
    transformers_maximum='5',
)


def _version(package: str) -> str | None:
    """That of an installed package, else None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def installed_stack() -> Stack:
    """The stack that is installed; OpenMMLab's where no package says so, as on a ``PYTHONPATH``.

    Raises:
        ImportError: If packages of both stacks are installed, or MMEngine is not.
    """
    packages = {
        stack: [name for name in (*stack.others, stack.mmcv) if _version(name)]
        for stack in (OPENMMLAB, ONEDL)
    }
    if all(packages.values()):
        both = ' '.join(name for names in packages.values() for name in names)
        raise ImportError(
            'mmkd found packages of OpenMMLab and their forks by OneDL, which overwrite each '
            f'other, in one environment: run `pip uninstall -y {both}` and install one of the two '
            'stacks again, as README says'
        )
    if find_spec('mmengine') is None:
        raise ImportError(
            'mmkd needs MMEngine, mmdet and mmpretrain, and no MMEngine is installed: run `pip '
            'install "mmkd[openmmlab]"` or, for the forks by OneDL, `pip install "mmkd[onedl]"`'
        )
    return ONEDL if packages[ONEDL] else OPENMMLAB


def check_stack() -> None:
    """Check that mmcv fits and has its compiled ops, which pip may leave out without a word.

    Raises:
        ImportError: If the packages are those of two stacks or none, if mmcv is missing, of another
            version, or without ops for this torch, or if mmpretrain fails beside transformers.
    """
    stack = installed_stack()
    from mmengine.utils import digit_version

    def within(version: str, minimum: str, maximum: str) -> bool:
        return digit_version(minimum) <= digit_version(version) < digit_version(maximum)

    transformers = _version('transformers')
    if transformers and not within(transformers, '0', stack.transformers_maximum):
        raise ImportError(
            f'mmpretrain cannot be imported beside transformers {transformers}, which mmkd does '
            f'not need: run `pip install "transformers<{stack.transformers_maximum}"` or `pip '
            'uninstall transformers`, or give mmkd an environment of its own'
        )

    found = 'none'
    try:
        import mmcv

        found = mmcv.__version__
        if not within(found, stack.mmcv_minimum, stack.mmcv_maximum):
            raise ImportError('another version is needed', name='mmcv')
        import mmcv._ext  # noqa: F401
    except ImportError as error:
        if (error.name or '').split('.')[0] != 'mmcv':
            raise
        torch_first = (
            ''
            if within(torch.__version__, TORCH_MINIMUM, TORCH_MAXIMUM)
            else f'`pip install "torch>={TORCH_MINIMUM},<{TORCH_MAXIMUM}" torchvision` (mmcv does '
            f'not compile against torch {torch.__version__}), '
        )
        raise ImportError(
            f'mmkd needs {stack.mmcv}>={stack.mmcv_minimum},<{stack.mmcv_maximum} with ops '
            f'compiled for the installed torch; found mmcv: {found} ({error}). Run {torch_first}'
            '`pip uninstall -y mmcv mmcv-lite onedl-mmcv`, '
            '`pip install "setuptools<80" wheel ninja psutil packaging` and '
            f'`pip install --no-build-isolation --no-cache-dir {stack.mmcv}=={stack.mmcv_tested}`'
        ) from error

"""mmkd: knowledge distillation on MMEngine."""

import torch
from mmengine.utils import digit_version

from mmkd.version import __version__

# What both mmdet 3.3.0 and mmpretrain 1.2.0 accept.
MMCV_MINIMUM, MMCV_MAXIMUM = '2.0.0', '2.2.0'
# The fork of docs/stacks.md, imported as mmcv too: what onedl-mmpretrain 1.3.6 accepts of it.
ONEDL_MMCV_MINIMUM, ONEDL_MMCV_MAXIMUM = '2.3.0', '2.4.0'
# What mmcv compiles against: from 2.14 on, torch's headers want C++20.
TORCH_MINIMUM, TORCH_MAXIMUM = '2.4', '2.14'


def _within(version: str, minimum: str, maximum: str) -> bool:
    return digit_version(minimum) <= digit_version(version) < digit_version(maximum)


def _fits(mmcv_version: str) -> bool:
    return _within(mmcv_version, MMCV_MINIMUM, MMCV_MAXIMUM) or _within(
        mmcv_version, ONEDL_MMCV_MINIMUM, ONEDL_MMCV_MAXIMUM
    )


def _check_mmcv() -> None:
    """Check that mmcv fits and has its compiled ops, which pip may leave out without a word.

    Raises:
        ImportError: If mmcv is missing, of another version, or without ops for this torch.
    """
    found = 'none'
    try:
        import mmcv

        found = mmcv.__version__
        if not _fits(found):
            raise ImportError('another version is needed', name='mmcv')
        import mmcv._ext  # noqa: F401
    except ImportError as error:
        if (error.name or '').split('.')[0] != 'mmcv':
            raise
        torch_first = (
            ''
            if _within(torch.__version__, TORCH_MINIMUM, TORCH_MAXIMUM)
            else f'`pip install "torch>={TORCH_MINIMUM},<{TORCH_MAXIMUM}" torchvision` (mmcv does '
            f'not compile against torch {torch.__version__}), '
        )
        raise ImportError(
            f'mmkd needs mmcv>={MMCV_MINIMUM},<{MMCV_MAXIMUM} (or onedl-mmcv>={ONEDL_MMCV_MINIMUM},'
            f'<{ONEDL_MMCV_MAXIMUM}) with ops compiled for the installed torch; found mmcv: {found}'
            f' ({error}). Run {torch_first}`pip uninstall -y mmcv mmcv-lite onedl-mmcv`, '
            '`pip install "setuptools<80" wheel ninja psutil` '
            'and `pip install --no-build-isolation --no-cache-dir mmcv==2.1.0`, or the same with '
            'onedl-mmcv==2.3.6 where mmdet and mmpretrain are those of OneDL'
        ) from error


_check_mmcv()

# Registers the scope `mmkd` and the configs with MMEngine; keeps the loading of checkpoints safe.
from mmkd import registry  # noqa: E402, F401
from mmkd.engine import checkpoint, config  # noqa: E402, F401

__all__ = ['__version__']

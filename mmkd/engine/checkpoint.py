"""Keep ``weights_only`` on for every checkpoint that is read through MMEngine.

torch >= 2.6 loads tensors and plain containers only, which is the safe default. MMEngine's own
checkpoints hold a few more types (the log history), and its URL loader asks for the unsafe mode.
Importing this module allow-lists exactly those types and wraps MMEngine's loaders.
"""

from __future__ import annotations

import functools
import os
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

_FORCE, _FORBID = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'


def _history_buffer_attribute(owner: Any, name: str) -> Any:
    """Stand for ``getattr`` in a pickle: HistoryBuffer's public statistics and nothing else."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed')
    return getattr(owner, name)


def allow_mmengine_types() -> None:
    """Allow-list what MMEngine writes into a checkpoint beside tensors."""
    numpy_core = getattr(np, '_core', None) or np.core
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            (_history_buffer_attribute, 'builtins.getattr'),
            (numpy_core.multiarray._reconstruct, 'numpy.core.multiarray._reconstruct'),
            (numpy_core.multiarray._reconstruct, 'numpy._core.multiarray._reconstruct'),
            (numpy_core.multiarray.scalar, 'numpy.core.multiarray.scalar'),
            (numpy_core.multiarray.scalar, 'numpy._core.multiarray.scalar'),
            np.ndarray,
            np.dtype,
            *{type(np.dtype(code)) for code in np.typecodes['AllInteger'] + 'efd?'},
        ]
    )


def _safely(loader: Callable) -> Callable:
    @functools.wraps(loader)
    def load(filename: str, *args: Any, **kwargs: Any) -> Any:
        before = os.environ.get(_FORCE)
        if _FORBID not in os.environ:
            os.environ[_FORCE] = '1'
        try:
            return loader(filename, *args, **kwargs)
        except pickle.UnpicklingError as error:
            found = re.search(r'GLOBAL (\S+)', str(error))
            raise pickle.UnpicklingError(
                f'{filename} holds {found[1] if found else "something"} beside tensors, and '
                'loading it could run code from the file. If you trust the file, allow its types '
                'with torch.serialization.add_safe_globals([...]) in a module that custom_imports '
                f'names, or set the environment variable {_FORBID}=1 for this run.'
            ) from error
        finally:
            if before is None:
                os.environ.pop(_FORCE, None)
            else:
                os.environ[_FORCE] = before

    load.is_safe = True
    return load


def load_safely() -> None:
    """Wrap every loader of MMEngine so that it unpickles no arbitrary code. Idempotent."""
    for prefix, loader in list(CheckpointLoader._schemes.items()):
        if not hasattr(loader, 'is_safe'):
            CheckpointLoader.register_scheme(prefix, _safely(loader), force=True)
    # OneDL's MMEngine allows all of getattr during each load; the types allowed above are enough.
    if hasattr(checkpoint, 'get_torch_safe_globals'):
        checkpoint.get_torch_safe_globals = list


allow_mmengine_types()
load_safely()

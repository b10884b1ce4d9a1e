"""Keep ``weights_only`` on for every checkpoint that is read through MMEngine.

torch >= 2.6 loads tensors and plain containers only, which is the safe default. MMEngine's own
checkpoints hold a few more types (the log history), and its URL loader asks for the unsafe mode.
Importing this module allow-lists exactly those types and wraps MMEngine's loaders.
"""

from __future__ import annotations

import builtins
import functools
import os
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from mmkd.engine.file_kind import is_from_torch, what_is

_FORCE, _FORBID = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
_EXPECTED = 'a file that torch.save wrote of a model'
# What only a program has a use for, under the names that pickle has for it.
_NEVER = {'os', 'posix', 'nt', 'sys', 'subprocess', 'shutil', 'importlib', 'runpy', 'pty', 'ctypes'}


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
    def load(filename: str, *args: Any, **kwargs: Any) -> dict:
        before = os.environ.get(_FORCE)
        if _FORBID not in os.environ:
            os.environ[_FORCE] = '1'
        try:
            with warnings.catch_warnings():
                # Of formats that are refused in a sentence.
                warnings.simplefilter('ignore', UserWarning)
                loaded = loader(filename, *args, **kwargs)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        # A file that is no checkpoint makes the readers raise anything.
        except Exception as error:
            explained = _explained(error, filename)
            if explained is None:
                raise
            raise explained from error
        finally:
            if before is None:
                os.environ.pop(_FORCE, None)
            else:
                os.environ[_FORCE] = before
        return _checkpoint(loaded, filename)

    load.is_safe = True
    return load


def _checkpoint(loaded: Any, filename: str) -> dict:
    weights = loaded.get('state_dict', loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(weights, dict):
        raise TypeError(
            f'{filename} holds a {type(weights).__name__} where {_EXPECTED} has a dict of weights; '
            'give a checkpoint'
        )
    # MMEngine's Runner.resume would run this text as a Python file. It writes `cfg` itself.
    if isinstance(loaded.get('meta'), dict):
        loaded['meta'].pop('config', None)
    return loaded


def _explained(error: Exception, filename: str) -> Exception | None:
    """The sentence for what happened while a file was read; None if the error has one."""
    path = Path(filename).expanduser()
    if isinstance(error, pickle.UnpicklingError) and (not path.is_file() or is_from_torch(path)):
        refused = _refused(str(error), filename)
        if refused is not None:
            return refused
    if not path.exists():
        if isinstance(error, OSError) and filename.startswith(('http://', 'https://')):
            return ConnectionError(
                f'{filename} could not be downloaded ({error}); fetch it by other means and give '
                'the file in its place'
            )
        missing = isinstance(error, FileNotFoundError)
        return FileNotFoundError(f'there is no file {filename!r}') if missing else None
    if isinstance(error, OSError) and path.is_file():
        return type(error)(f'{filename} cannot be read ({error.strerror}); see to it, or copy it')
    if path.is_file() and is_from_torch(path):
        # An error of unpickling is a page of advice that does not apply.
        unpickling = isinstance(error, pickle.UnpicklingError)
        reason = '' if unpickling else f' ({" ".join(str(error).split())})'
        return ValueError(
            f'{filename} was written by torch.save and does not load{reason}; if it is cut off or '
            'damaged, fetch it again or take another'
        )
    return ValueError(
        f'{filename} is not a checkpoint: found {what_is(path)}, expected {_EXPECTED}; give such a '
        'file, or fetch this one again if it should be one'
    )


def _refused(reason: str, filename: str) -> pickle.UnpicklingError | None:
    """For a file of torch.save with more in it than is loaded, which the reason names."""
    named = re.search(r"GLOBAL (\S+)|(getattr)\(|<class '(\S+)'>", reason)
    if named is None:
        return None
    found = named[named.lastindex]
    function = getattr(builtins, found, str)
    if found.split('.')[0] in _NEVER or not isinstance(function, type):
        return pickle.UnpicklingError(
            f'{filename} holds a call of {found}, which no checkpoint needs and which could run '
            'any program; do not load it, and take the checkpoint from where you trust it'
        )
    return pickle.UnpicklingError(
        f'{filename} holds {found} beside tensors, and loading it could run code from the file. If '
        'you trust the file, allow its types with torch.serialization.add_safe_globals([...]) in a '
        f'module that custom_imports names, or set the environment variable {_FORBID}=1 for this '
        'run.'
    )


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

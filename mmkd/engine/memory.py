"""What a training on the CPU does with memory that tensors give back."""

from __future__ import annotations

import ctypes
import os

from mmengine.device import get_device

# Options of the GNU C library's malloc.h; each value is an int.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = (-1, 2**31 - 1), (-3, 2**30)


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed on the CPU, for the tensors that come next.

    The GNU C library gives large blocks back to the system at once, so that each map of a step of
    training is paid for page by page anew; a step of ReviewKD took an eighth longer by it. What the
    environment sets of malloc stands, and so does another malloc that is loaded before it.

    Returns:
        bool: Whether it does so. Not with a GPU, whose memory torch keeps itself.
    """
    told = any(name.startswith('MALLOC_') for name in os.environ)
    told = told or 'glibc.malloc' in os.environ.get('GLIBC_TUNABLES', '')
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if told or mallopt is None or get_device() != 'cpu':
        return False
    return all(mallopt(*option) for option in (_TRIM_THRESHOLD, _MMAP_THRESHOLD))

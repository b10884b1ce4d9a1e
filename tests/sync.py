"""Find what would make a GPU wait, on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import mmkd

aten = torch.ops.aten
#: Operators that bring a number to the host, or whose result has a size that depends on values.
WAITING = {
    aten._local_scalar_dense,
    aten.bincount,
    aten.equal,
    aten.is_nonzero,
    aten.masked_select,
    aten.nonzero,
    aten.repeat_interleave,
    aten.unique_consecutive,
    aten.unique_dim,
    aten._unique2,
}
#: By a mask they look for what is not zero.
INDEXING = {aten.index, aten.index_put, aten.index_put_}

_OURS = str(Path(mmkd.__file__).parent)
_TORCH = str(Path(torch.__file__).parent)


def _caller() -> str:
    """The innermost line outside of torch and this file that led here."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file != __file__ and not file.startswith((_TORCH, '<')):
            return f'{file}:{frame.f_lineno}'
        frame = frame.f_back
    return 'nowhere'


class NoWaiting(TorchDispatchMode):
    """Raise where mmkd's own code would wait for the device; note where that of others would."""

    def __init__(self) -> None:
        super().__init__()
        #: Lines of others.
        self.others: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        packet = func.overloadpacket
        masks = args[1] if packet in INDEXING else ()
        by_mask = any(isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8) for x in masks)
        if by_mask or packet in WAITING:
            line = _caller()
            if line.startswith(_OURS):
                raise AssertionError(f'{line} waits for the device: {func}')
            self.others.add(line)
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waiting(model: nn.Module) -> Iterator[NoWaiting]:
    """Watch the losses of a model."""
    forward, mode = model.forward, NoWaiting()

    def watched(*args, **kwargs):
        if kwargs.get('mode') != 'loss':
            return forward(*args, **kwargs)
        with mode:
            return forward(*args, **kwargs)

    model.forward = watched
    try:
        yield mode
    finally:
        del model.forward

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


def _caller(in_backward: str = 'nowhere') -> str:
    """The innermost line outside of torch and this file that led here.

    If none lies between a backward pass and this, as for the derivatives of torch, ``in_backward``.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == '_engine_run_backward':
            return in_backward
        file = frame.f_code.co_filename
        if file != __file__ and not file.startswith((_TORCH, '<')):
            return f'{file}:{frame.f_lineno}'
        frame = frame.f_back
    return 'nowhere'


class NoWaiting(TorchDispatchMode):
    """Raise where mmkd's own code would wait for the device; note where that of others would.

    In a backward pass that is the code whose forward made the node. Derivatives that wait only
    while nothing watches, as that of ``prod``, which looks for zeros, are not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        #: Lines of others.
        self.others: set[str] = set()
        #: Line by the number of the node that autograd made for it.
        self._made_at: dict[int, str] = {}

    def _line(self) -> str:
        node = torch._C._current_autograd_node()
        if node is None:
            return _caller()
        return _caller(self._made_at.get(node._sequence_nr(), 'nowhere'))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        packet = func.overloadpacket
        if torch.is_grad_enabled():
            # The node is made before its operator runs; what else runs under it comes later.
            self._made_at.setdefault(torch.autograd._get_sequence_nr() - 1, _caller())
        masks = args[1] if packet in INDEXING else ()
        by_mask = any(isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8) for x in masks)
        if by_mask or packet in WAITING:
            line = self._line()
            if line.startswith(_OURS):
                raise AssertionError(f'{line} waits for the device: {func}')
            self.others.add(line)
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waiting(model: nn.Module) -> Iterator[NoWaiting]:
    """Watch the losses of a model, and all backward passes."""
    forward, backward, mode = model.forward, torch.autograd.backward, NoWaiting()

    def watched(*args, **kwargs):
        if kwargs.get('mode') != 'loss':
            return forward(*args, **kwargs)
        with mode:
            return forward(*args, **kwargs)

    def watched_backward(*args, **kwargs):
        with mode:
            backward(*args, **kwargs)

    model.forward, torch.autograd.backward = watched, watched_backward
    try:
        yield mode
    finally:
        del model.forward
        torch.autograd.backward = backward

"""What a user sees of an error: one sentence, once; a traceback only for a bug."""

from __future__ import annotations

import dis
import errno
import json
import os
import sys
import time
from pathlib import Path
from types import FrameType

#: Set to anything, it shows the traceback of every error.
TRACEBACK = 'MMKD_TRACEBACK'
#: Set by ``mmkd dist`` for its processes: it reports their error itself, once.
REPORTED_BY_LAUNCHER = 'MMKD_REPORTED_BY_LAUNCHER'


def is_explained(error: BaseException) -> bool:
    """Whether an error was raised by a ``raise`` statement, whose text is meant for the reader.

    An error of an operation (``None.x``, ``{}['key']``) is a bug, and so is one that a library
    raises again while it handles such an error; ``raise ... from error`` explains what it handles,
    and so does an ImportError the import that failed: a package is not installed. An ``assert``
    explains itself if it has a text, and :func:`_refusing` an error of a constructor.
    """
    if error.__traceback__ is None or (isinstance(error, AssertionError) and not error.args):
        return False
    if _lacks_room(error) or _lost_peer(error) or _refusing(error) is not None:
        return True
    frame, last = _frames(error)[-1]
    if frame.f_code.co_code[last] != dis.opmap['RAISE_VARARGS']:
        return False
    context = None if error.__suppress_context__ else error.__context__
    if isinstance(error, ImportError) and isinstance(context, ImportError):
        return True
    return context is None or is_explained(context)


def _frames(error: BaseException) -> list[tuple[FrameType, int]]:
    """The frames that an error passed, outermost first, and the instruction in each."""
    frames, here = [], error.__traceback__
    while here is not None:
        frames.append((here.tb_frame, here.tb_lasti))
        here = here.tb_next
    return frames


def _refusing(error: BaseException) -> str | None:
    """The type of a library that failed while a registry built it from the config's arguments.

    That is the config's fault before the library's. None if our own code failed, or nothing was
    being built.
    """
    name = None
    for frame, _ in _frames(error):
        if frame.f_code.co_name == 'build_from_cfg':
            name = getattr(frame.f_locals.get('obj_cls'), '__name__', None)
        elif frame.f_globals.get('__name__', '').split('.')[0] == 'mmkd':
            name = None
    return name


def _lacks_room(error: BaseException) -> bool:
    """Whether there is no room on a disk, which no code can help."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _lost_peer(error: BaseException) -> bool:
    """Whether gloo lost another process, which has its own reason."""
    return isinstance(error, RuntimeError) and 'Connection closed by peer' in str(error)


def sentence(error: BaseException) -> str:
    """The text of an error, on one line; ``KeyError`` shows its argument quoted otherwise."""
    if _lacks_room(error) and len(error.args) > 1:
        return (
            f'the disk is full ({error}); the last checkpoint is whole: make room and continue a '
            'training with --resume'
        )
    if _lost_peer(error):
        return (
            f'another process of this run has ended ({" ".join(str(error).split())}); see what it '
            'said, on its machine'
        )
    text = str(error.args[0]) if len(error.args) == 1 else str(error)
    text = ' '.join(text.split()) or type(error).__name__
    refusing = _refusing(error) if error.__traceback__ is not None else None
    if refusing is not None:
        text = (
            f'{refusing} cannot be built as the config says: {text}; correct its arguments '
            f'({TRACEBACK}=1 shows where)'
        )
    return text


def report(command: str, error: BaseException) -> None:
    """Say a sentence on stderr, unless the launcher or another process says the same.

    Under torchrun it is also left in the file where torchrun looks for a process's last words.
    """
    file = os.environ.get('TORCHELASTIC_ERROR_FILE')
    if file is not None:
        words = dict(message=sentence(error), timestamp=int(time.time()))
        Path(file).write_text(json.dumps(words))
    if REPORTED_BY_LAUNCHER not in os.environ and os.environ.get('RANK', '0') == '0':
        print(f'mmkd {command}: {sentence(error)}', file=sys.stderr, flush=True)

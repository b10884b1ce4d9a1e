"""What a user sees of an error: one sentence, once; a traceback only for a bug."""

from __future__ import annotations

import dis
import errno
import json
import os
import sys
import time
from pathlib import Path

#: Set to anything, it shows the traceback of every error.
TRACEBACK = 'MMKD_TRACEBACK'
#: Set by ``mmkd dist`` for its processes: it reports their error itself, once.
REPORTED_BY_LAUNCHER = 'MMKD_REPORTED_BY_LAUNCHER'


def is_explained(error: BaseException) -> bool:
    """Whether an error was raised by a ``raise`` statement, whose text is meant for the reader.

    An error of an operation (``None.x``, ``{}['key']``) is a bug, and so is one that a library
    raises again while it handles such an error; ``raise ... from error`` explains what it handles.
    An ``assert`` explains nothing.
    """
    if isinstance(error, AssertionError) or error.__traceback__ is None:
        return False
    if _lacks_room(error):
        return True
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    if last.tb_frame.f_code.co_code[last.tb_lasti] != dis.opmap['RAISE_VARARGS']:
        return False
    context = None if error.__suppress_context__ else error.__context__
    return context is None or is_explained(context)


def _lacks_room(error: BaseException) -> bool:
    """Whether there is no room on a disk, which no code can help."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def sentence(error: BaseException) -> str:
    """The text of an error, on one line; ``KeyError`` shows its argument quoted otherwise."""
    if _lacks_room(error) and len(error.args) > 1:
        return (
            f'the disk is full ({error}); the last checkpoint is whole: make room and continue a '
            'training with --resume'
        )
    text = str(error.args[0]) if len(error.args) == 1 else str(error)
    return ' '.join(text.split()) or type(error).__name__


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

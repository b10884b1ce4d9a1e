"""One training at a time in a work directory."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.logging import print_log

_NAME = '.mmkd.lock'


@contextmanager
def sole_training(work_dir: str | Path) -> Iterator[None]:
    """Hold a work directory, which is made where there is none, for the time of a training.

    The lock is the kernel's, on an open file: it ends with the process, however that ends, so that
    none is ever left behind. It is one that forked data loader workers do not inherit. On a folder
    that several machines share it is as good as the file system's ``fcntl`` locks.

    Args:
        work_dir (str | Path): The folder. Other processes of the same run must not ask for it.

    Raises:
        BlockingIOError: If another process trains there.
    """
    path = Path(work_dir, _NAME)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a+') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                holder = file.read() or 'another process'
                raise BlockingIOError(
                    f'work_dir {work_dir}: {holder} trains there; wait for it or stop it, or give '
                    'another --work-dir'
                ) from error
            print_log(
                f'work_dir {work_dir}: its file system has no locks ({error.strerror}), so nothing '
                'keeps a second training out',
                logger='current',
            )
        file.truncate(0)
        since = time.strftime('%Y-%m-%d %H:%M:%S')
        file.write(f'process {os.getpid()} on {socket.gethostname()}, since {since},')
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)

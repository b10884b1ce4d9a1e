"""Files that appear whole or not at all, whatever happens to the process, the disk or the power."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

_PART = re.compile(r'\..+\.[0-9a-f]{32}\.partial')


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that under its name is what was there before, or all of the content.

    It is written and synced to the disk under another name of the same folder, and then renamed.

    Args:
        path (str | Path): The file. Its folder is made where there is none.
        content (bytes): What it shall hold.

    Raises:
        OSError: If it cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    part = path.with_name(f'.{path.name}.{uuid.uuid4().hex}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, 'xb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(
            f'{path}: {len(content) / 2**20:.1f} MiB could not be written ({error.strerror}); what '
            'was there before is untouched; make room or give a folder that can be written to, and '
            'continue a training with --resume'
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Let a renaming survive a power failure, on file systems that sync folders."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def remove_parts(folder: str | Path) -> None:
    """Remove what killed processes left half-written in a folder."""
    for part in Path(folder).glob('.*.partial'):
        if _PART.fullmatch(part.name):
            part.unlink(missing_ok=True)


@register_backend('local', prefixes='', force=True)
class WholeFileBackend(LocalBackend):
    """MMEngine's files on local disks, of which checkpoints are, written by :func:`write_whole`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        if os.path.exists(filepath) and not os.path.isfile(filepath):
            # A device or a pipe, which nothing may take the place of.
            super().put(obj, filepath)
        else:
            write_whole(filepath, obj)

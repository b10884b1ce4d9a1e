"""What a file is that was given as a checkpoint."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

# How torch.save began before it wrote zip archives: its magic number, pickled.
_LEGACY = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
_HEADS = {
    b'PK\x03\x04': 'a zip archive, as torch.save writes, that is cut off',
    b'\x93NUMPY': 'a numpy array (.npy)',
    b'\x89HDF': 'an HDF5 file',
    b'\x1f\x8b': 'a gzip archive',
    b'\x80': 'a pickle that torch.save did not write',
    b'version https://git-lfs': 'a pointer of Git LFS (`git lfs pull` gets the file itself)',
}


def is_from_torch(path: Path) -> bool:
    """Whether a file has the format of ``torch.save``, whatever objects are in it."""
    if zipfile.is_zipfile(path):
        names = _names(path)
        return _has(names, 'data.pkl') and not _has(names, 'constants.pkl')
    with open(path, 'rb') as file:
        return file.read(len(_LEGACY)) == _LEGACY


def what_is(path: Path) -> str:
    """In words, what a file is that torch does not load."""
    if path.is_dir():
        return 'a folder'
    with open(path, 'rb') as file:
        head = file.read(512)
    if not head:
        return 'an empty file'
    if zipfile.is_zipfile(path):
        return _archive(_names(path))
    for start, kind in _HEADS.items():
        if head.startswith(start):
            return kind
    if tarfile.is_tarfile(path):
        return 'a tar archive'
    # Its header, in JSON, comes after the header's length.
    if head[8:9] == b'{':
        return 'a safetensors file'
    # The last of the bytes may be half a character.
    if b'\0' in head or '\ufffd' in head.decode(errors='replace')[:-3]:
        return f'{path.stat().st_size} bytes of no format known here'
    if head.lstrip().lower().startswith((b'<!doctype html', b'<html')):
        return 'a web page (an error page of a download, perhaps)'
    return 'a Python file' if path.suffix == '.py' else 'a text file'


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []


def _has(names: list[str], file: str) -> bool:
    return any(name.split('/')[-1] == file for name in names)


def _archive(names: list[str]) -> str:
    if _has(names, 'constants.pkl'):
        return 'a TorchScript archive (a program, not weights)'
    if names and all(name.endswith('.npy') for name in names):
        return 'a numpy archive (.npz)'
    return 'a zip archive of other files' if names else 'a zip archive that is damaged'

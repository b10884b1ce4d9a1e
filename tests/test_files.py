"""A file appears whole or not at all."""

import os
import resource
import signal
import stat

import pytest
from mmengine.fileio import get_file_backend

from mmkd.files import WholeFileBackend, remove_parts, write_whole


def test_content_folder_and_mode_are_those_of_an_ordinary_file(tmp_path):
    write_whole(tmp_path / 'a/b.pth', b'content')
    (tmp_path / 'plain').write_text('')
    assert (tmp_path / 'a/b.pth').read_bytes() == b'content'
    modes = [stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ('a/b.pth', 'plain')]
    assert modes[0] == modes[1]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    steps = []
    for name in ('fsync', 'replace'):
        real = getattr(os, name)

        def run(*args, name=name, real=real):
            steps.append(name)
            return real(*args)

        monkeypatch.setattr(os, name, run)
    write_whole(tmp_path / 'a', b'content')
    assert steps == ['fsync', 'replace', 'fsync']


def test_where_there_is_no_room_the_old_file_stays_and_a_sentence_says_so(tmp_path):
    """In a process that may write files of 1000 bytes: the kernel refuses in the middle."""
    (tmp_path / 'epoch_1.pth').write_bytes(b'old')
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        code = 1
        try:
            write_whole(tmp_path / 'epoch_1.pth', bytes(5000))
        except OSError as error:
            words = ('epoch_1.pth: 0.0 MiB could not be written', 'untouched', '--resume')
            code = 0 if all(word in str(error) for word in words) else 2
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert [path.name for path in tmp_path.iterdir()] == ['epoch_1.pth']
    assert (tmp_path / 'epoch_1.pth').read_bytes() == b'old'


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    left = f'.epoch_1.pth.{"0" * 32}.partial'
    for name in (left, '.mine.partial', 'epoch_1.pth'):
        (tmp_path / name).write_text('')
    remove_parts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {'.mine.partial', 'epoch_1.pth'}


@pytest.mark.parametrize(
    'args', [dict(uri='/a/epoch_1.pth'), dict(backend_args={'backend': 'local'})]
)
def test_mmengine_writes_so(args):
    assert type(get_file_backend(**args)) is WholeFileBackend


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    WholeFileBackend().put(b'content', pipe)
    assert os.read(reader, 10) == b'content'
    os.close(reader)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)

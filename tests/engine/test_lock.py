"""One training at a time in a work directory, and never a lock that outlives its process."""

import os
import re
import signal
import socket

import pytest

from mmkd.engine.lock import sole_training


def in_child(function):
    """Run a function in a forked process; return its exit code."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = function() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def holder(tmp_path):
    """Process id of one that trains in ``tmp_path``, until it is killed."""
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        with sole_training(tmp_path):
            os.write(tell, b'x')
            signal.pause()
    os.read(ready, 1)
    yield child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_second_training_is_refused_with_host_and_process_of_the_first(tmp_path, holder):
    with pytest.raises(BlockingIOError) as refused, sole_training(tmp_path):
        pass
    assert f'process {holder} on {socket.gethostname()}, since 20' in str(refused.value)
    assert re.search('work_dir .* trains there; .* another --work-dir', str(refused.value))


def test_the_lock_of_a_killed_training_is_taken_over(tmp_path, request):
    holder = request.getfixturevalue('holder')
    os.kill(holder, signal.SIGSTOP)
    with pytest.raises(BlockingIOError), sole_training(tmp_path):
        pass
    os.kill(holder, signal.SIGKILL)
    os.waitid(os.P_PID, holder, os.WEXITED | os.WNOWAIT)
    assert str(holder) in (tmp_path / '.mmkd.lock').read_text()
    with sole_training(tmp_path):
        assert str(os.getpid()) in (tmp_path / '.mmkd.lock').read_text()


def test_a_finished_training_leaves_no_lock_and_no_name(tmp_path):
    with sole_training(tmp_path / 'new'):
        pass
    assert (tmp_path / 'new/.mmkd.lock').read_text() == ''

    def train():
        with sole_training(tmp_path / 'new'):
            pass

    assert in_child(train) == 0


def test_a_worker_that_outlives_its_training_does_not_hold_the_lock(tmp_path):
    ready, tell = os.pipe()

    def train():
        with sole_training(tmp_path):
            worker = os.fork()
            if not worker:
                signal.pause()
            os.write(tell, worker.to_bytes(4, 'little'))
            os._exit(0)

    assert in_child(train) == 0
    worker = int.from_bytes(os.read(ready, 4), 'little')
    try:
        with sole_training(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)

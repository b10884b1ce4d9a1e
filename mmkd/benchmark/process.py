"""``mmkd`` commands in processes of their own, and what they cost."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import torch

COMMAND = (sys.executable, '-m', 'mmkd')


@dataclass(frozen=True)
class Usage:
    """What one command cost: wall and CPU seconds, and its largest resident memory in MiB."""

    seconds: float
    cpu_seconds: float
    memory: float


def gpus() -> list[str]:
    """The GPUs of this process, by the names that ``CUDA_VISIBLE_DEVICES`` takes."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    names = range(torch.cuda.device_count()) if visible is None else visible.split(',')
    return list(map(str, names))[: torch.cuda.device_count()]


def num_threads() -> int:
    """Threads of each process: ``OMP_NUM_THREADS``, which is set to 1 where it is not.

    On tensors as small as those that a CPU trains, threads wait for each other more than they help.
    """
    return int(os.environ.setdefault('OMP_NUM_THREADS', '1'))


def num_jobs() -> int:
    """How many processes at once: one a GPU, or as many as the cores have room for."""
    return len(gpus()) or max(1, len(os.sched_getaffinity(0)) // num_threads())


class Commands:
    """Runs commands, from several threads; each has one GPU where there are any.

    Args:
        say (Callable): Is given a line to print.
        jobs (int): How many run at once at most, to share out the GPUs.
    """

    def __init__(self, say: Callable[[str], None], jobs: int) -> None:
        self.say = say
        self._running: set[subprocess.Popen] = set()
        self._lock, self._stopped = Lock(), False
        names = gpus()
        self._devices = SimpleQueue() if names else None
        for index in range(jobs if names else 0):
            self._devices.put(names[index % len(names)])

    def run(
        self, arguments: Sequence[str], log: Path, see: Callable[[str], None] = lambda line: None
    ) -> Usage:
        """Run one command as a user would.

        Args:
            arguments (sequence of str): Of ``mmkd``.
            log (Path): Where its output is added.
            see (Callable): Is given every line of it.

        Raises:
            RuntimeError: If the command fails, with the last line that it printed.
        """
        shown = f'mmkd {shlex.join(arguments)}'
        self.say(f'$ {shown}')
        log.parent.mkdir(parents=True, exist_ok=True)
        environment, device = os.environ, None
        if self._devices is not None:
            device = self._devices.get()
            environment = {**environment, 'CUDA_VISIBLE_DEVICES': device}
        last, start = '', time.monotonic()
        try:
            with log.open('a') as file, self._started([*COMMAND, *arguments], environment) as child:
                for line in child.stdout:
                    file.write(line)
                    file.flush()
                    last = line.strip() or last
                    see(line)
                # In place of child.wait(): only this says what the process took.
                _, status, usage = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
                self._running.discard(child)
        finally:
            if device is not None:
                self._devices.put(device)
        if child.returncode:
            raise RuntimeError(
                f'`{shown}` failed (exit {child.returncode}): {last}; all of its log: {log}'
            )
        return Usage(
            seconds=time.monotonic() - start,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            memory=usage.ru_maxrss / 1024,
        )

    def _started(self, command: Sequence[str], environment: dict) -> subprocess.Popen:
        with self._lock:
            if self._stopped:
                raise RuntimeError('stopped')
            child = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
            )
            self._running.add(child)
        return child

    def stop(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self._stopped = True
            for child in self._running:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGTERM)

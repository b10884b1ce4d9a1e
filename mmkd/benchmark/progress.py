"""How far many processes are, and how long they still take."""

from __future__ import annotations

import time
from threading import Lock

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Bar:
    """Progress over all trainings and tests, weighted by how long each is expected to take.

    Args:
        total (float): Seconds of all of them, one after the other.
    """

    def __init__(self, total: float) -> None:
        self._start, self._done, self._total, self._lock = time.monotonic(), 0.0, total, Lock()
        self._progress = Progress(
            TextColumn('{task.percentage:3.0f} %'),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn('{task.description}'),
            console=Console(),
        )
        self._task = self._progress.add_task('', total=total)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()

    def advance(self, seconds: float) -> None:
        """Count work of so many expected seconds as done."""
        with self._lock:
            self._done += seconds
        self._progress.update(self._task, advance=seconds, description=self._left())

    def say(self, line: str) -> None:
        """Print a line above the bar; without a terminal, with the time that is left."""
        if not self._progress.console.is_terminal:
            line = f'{line}  [{self._done / self._total:.0%}, {self._left() or "starting"}]'
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        if not self._done:
            return ''
        elapsed = time.monotonic() - self._start
        seconds = round(elapsed * max(0, self._total - self._done) / self._done)
        return f'about {seconds // 60}:{seconds % 60:02} min left'

"""Run a script in a process forked by multiprocessing, which has to import this by name."""

from __future__ import annotations

import gc
import os
import runpy
import sys
from pathlib import Path

import mmengine.config.config


def run_script(script: str, args: list[str], folder: Path, output: Path) -> None:
    """What ``cd FOLDER && python SCRIPT ARGS > OUTPUT 2>&1`` does; saves configs in one line."""
    gc.freeze()
    mmengine.config.config.FormatCode = lambda text, style_config: (text, False)
    with open(output, 'w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(fd, 'w', buffering=1) for fd in (1, 2))
    sys.argv = [script, *args]
    sys.path[0] = str(Path(script).parent)
    os.chdir(folder)
    runpy.run_path(script, run_name='__main__')

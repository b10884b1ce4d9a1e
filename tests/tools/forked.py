"""Run a script in a process forked by multiprocessing, which has to import this by name."""

from __future__ import annotations

import gc
import os
import runpy
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

from quick_mmengine import spare_time


def run_script(
    script: str, args: list[str], folder: Path, output: Path, env: dict[str, str]
) -> None:
    """What ``cd FOLDER && ENV python SCRIPT ARGS > OUTPUT 2>&1`` does.

    Configs are read and saved as in conftest.py, and the commands of a benchmark or demo are forked
    too.
    """
    from mmkd.benchmark import process

    gc.freeze()
    spare_time()
    process.subprocess = SimpleNamespace(**{**vars(subprocess), 'Popen': ForkedCommand})
    with open(output, 'w') as file:
        _print_to(file.fileno())
    os.environ.update(env)
    sys.argv = [script, *args]
    sys.path[:1] = [str(Path(script).parent), *filter(None, [env.get('PYTHONPATH')])]
    os.chdir(folder)
    runpy.run_path(script, run_name='__main__')


def _print_to(descriptor: int) -> None:
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (os.fdopen(fd, 'w', buffering=1) for fd in (1, 2))


class ForkedCommand:
    """``Popen`` of ``python -m mmkd ARGS``, as far as :mod:`mmkd.benchmark.process` needs it."""

    def __init__(self, command: list[str], env: dict[str, str], **pipes: object) -> None:
        self.returncode = None
        read, write = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _print_to(write)
            os.environ.update(env)
            sys.argv = [command[2], *command[3:]]
            code = 1
            try:
                runpy.run_module(command[2], run_name='__main__')
                code = 0
            except SystemExit as error:
                if isinstance(error.code, str):
                    print(error.code, file=sys.stderr)
                else:
                    code = error.code or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        os.close(write)
        self.stdout = os.fdopen(read)

    def __enter__(self) -> ForkedCommand:
        return self

    def __exit__(self, *error: object) -> None:
        self.stdout.close()
        if self.returncode is None:
            os.waitpid(self.pid, 0)

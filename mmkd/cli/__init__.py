"""The command line: one module a command, each with ``main(argv)``.

``mmkd COMMAND ...`` of an installed package and ``tools/*.py`` of a clone run the same code.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from .errors import TRACEBACK, is_explained, report

#: Command to what it does, in the order in which a user meets them.
COMMANDS = {
    'demo': 'distil a classifier and a detector on the CPU, on data that comes along',
    'distill': 'distil a teacher into a student, by the name of a method',
    'train': 'train a distiller, or a plain model, from a config',
    'test': 'evaluate any checkpoint of a distiller, or a published one',
    'dist': 'train or test in several processes',
    'benchmark': 'run configs by seeds, and write a page with intervals of confidence',
    'export': 'write the student of a checkpoint as a plain model',
    'print_config': 'print a config with its bases and options resolved',
    'browse_dataset': 'draw a batch as the student gets it, and as each teacher does',
    'benchmark_step': 'time the steps of distillers against their networks alone',
    'flops': 'parameters, FLOPs and latency of students and teachers',
    'analyze': 'draw what networks learned, and write a page of it',
    'early_exit': 'measure what each exit of a network costs and gets right',
}


def usage() -> str:
    """What ``mmkd --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f'  {name:{width}}  {what}' for name, what in COMMANDS.items()]
    return '\n'.join(['usage: mmkd COMMAND ...', '', *lines, '', 'mmkd COMMAND --help says more.'])


def run(command: str, argv: Sequence[str]) -> None:
    """Run one command with its arguments; an explained error ends it with a sentence.

    Raises:
        SystemExit: With exit code 1, in place of such an error.
    """
    try:
        importlib.import_module(f'mmkd.cli.{command}').main(argv)
    except SystemExit as error:
        if not isinstance(error.code, str):
            raise
        report(command, error)
    except Exception as error:
        if TRACEBACK in os.environ or not is_explained(error):
            raise
        report(command, error)
    else:
        return
    raise SystemExit(1)


def main(argv: Sequence[str] | None = None) -> None:
    """The console script ``mmkd``."""
    command, *rest = list(sys.argv[1:] if argv is None else argv) or ['--help']
    if command in ('-h', '--help'):
        print(usage())
        return
    if command not in COMMANDS:
        raise SystemExit(f'mmkd: there is no command {command!r}\n\n{usage()}')
    # argparse takes the name of the program from here.
    sys.argv[0] = f'mmkd {command}'
    run(command, rest)

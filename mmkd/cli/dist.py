"""Run ``mmkd train`` or ``mmkd test`` in several processes: one a GPU or, without CUDA, on the CPU.

On one machine a free port is taken. On several, NNODES and NODE_RANK say how many there are and
which one this is, MASTER_ADDR and PORT where the first one listens (127.0.0.1 and 29500).
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser
from torch.distributed.run import run as torchrun

from .errors import REPORTED_BY_LAUNCHER


def parse_args(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The launcher's arguments, and those of the command that it launches."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='{train,test}')
    for name, files in (('train', ['config']), ('test', ['config', 'checkpoint'])):
        command = commands.add_parser(
            name, epilog=f'further arguments are those of mmkd {name}', prog=f'mmkd dist {name}'
        )
        for file in files:
            command.add_argument(file)
        command.add_argument('gpus', type=int, help='number of processes on this machine')
    args, rest = parser.parse_known_args(argv)
    if args.gpus < 1:
        parser.error(f'GPUS must be 1 or more, found {args.gpus}')
    files = [args.config, *([args.checkpoint] if args.command == 'test' else [])]
    rest = [*files, '--launcher', 'pytorch', *rest]
    # What the command does not take is refused here, once, and not by every process.
    importlib.import_module(f'mmkd.cli.{args.command}').parse_args(rest)
    return args, rest


def rendezvous() -> list[str]:
    """torchrun's arguments for where the processes meet.

    Raises:
        SystemExit: If NODE_RANK is missing on one of several machines.
    """
    nodes, port = os.environ.get('NNODES', '1'), os.environ.get('PORT')
    if nodes == '1' and port is None:
        return ['--standalone']
    if nodes != '1' and 'NODE_RANK' not in os.environ:
        raise SystemExit(
            f'NNODES={nodes}, but NODE_RANK is not set; set it to 0 on the first machine, 1 on the '
            'second and so on'
        )
    return [
        f'--nnodes={nodes}',
        f'--node_rank={os.environ.get("NODE_RANK", "0")}',
        f'--master_addr={os.environ.get("MASTER_ADDR", "127.0.0.1")}',
        f'--master_port={port or 29500}',
    ]


def main(argv: Sequence[str] | None = None) -> None:
    args, rest = parse_args(argv)
    options = [*rendezvous(), f'--nproc_per_node={args.gpus}', '-m', 'mmkd', args.command, *rest]
    os.environ[REPORTED_BY_LAUNCHER] = '1'
    # What torchrun logs of a failure is said below in a line.
    logging.getLogger('torch.distributed').setLevel(logging.CRITICAL)
    try:
        torchrun(get_args_parser().parse_args(options))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            said = f'process {rank} was ended by {signal.Signals(-failure.exitcode).name}'
        elif 'timestamp' in failure.error_file_data:
            said = failure.message  # what mmkd.cli.errors.report left
        else:
            said = f'process {rank} ended with exit code {failure.exitcode}; see what it said above'
        print(f'mmkd {args.command}: {said}', file=sys.stderr, flush=True)
        raise SystemExit(1) from None

"""What the command line tools share: arguments, config and process group."""

from __future__ import annotations

import argparse
import difflib
import gc
import inspect
import os
import os.path as osp

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from mmkd.engine.config import read_config

#: What a launcher leaves in the environment, and what starts it.
_LAUNCHED = {
    'pytorch': ('RANK', 'tools/dist_train.sh CONFIG PROCESSES'),
    'slurm': ('SLURM_PROCID', 'tools/slurm_train.sh'),
    'mpi': ('OMPI_COMM_WORLD_LOCAL_RANK', 'mpirun'),
}


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every tool that runs a Runner, as OpenMMLab's tools have them."""
    parser.add_argument('--work-dir', help='folder of logs and results')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='override settings of the config, as in key.subkey=value; a list is key="[a,b]"',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch passes it; torchrun sets the environment variable.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the command line to it.

    Raises:
        KeyError: If ``--cfg-options`` sets a key that neither the config nor the runner knows.
        SystemExit: If ``--launcher`` names one that did not start this process.
    """
    variable, starter = _LAUNCHED.get(args.launcher, (None, None))
    if variable is not None and variable not in os.environ:
        raise SystemExit(
            f'--launcher {args.launcher}: the environment has no {variable}, so nothing started '
            f'several processes; start them with {starter}, or leave --launcher out'
        )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, 'CONFIG')
    known = set(cfg) | set(inspect.signature(Runner.__init__).parameters)
    known |= {'find_unused_parameters', 'model_wrapper_cfg', 'sync_bn', 'compile'}
    known |= {'runner_type', 'strategy'}
    for option in args.cfg_options:
        key = option.split('.')[0]
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3)
            raise KeyError(
                f'--cfg-options {option}: {args.config} has no key {key!r}; '
                f'nearest: {", ".join(near) or "none"}'
            )
    cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    return cfg


def is_first_process(launcher: str = 'pytorch') -> bool:
    """Whether this is the only process of a run, or the first of several.

    Args:
        launcher (str): What started them, as in ``--launcher``.
    """
    names = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    ranks = [os.environ[name] for name in names if name in os.environ]
    return launcher == 'none' or not ranks or ranks[0] == '0'


def prepare_distributed(cfg: Config) -> None:
    """Let torchrun's processes work together where there is no CUDA.

    MMEngine's launcher and its DDP wrapper take a GPU for granted. Without one the process group is
    made here, with gloo, before the runner looks for it, and the wrapper gets no device.
    """
    if cfg.launcher != 'pytorch' or torch.cuda.is_available():
        return
    torch.distributed.init_process_group('gloo')
    cfg.setdefault(
        'model_wrapper_cfg',
        dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        ),
    )


def leave_distributed() -> None:
    """End gloo's threads after a run: the interpreter may abort at its end while they run.

    Not after an error, where they may wait for another process.
    """
    if torch.distributed.is_initialized():
        # A runner, which lies in cycles, holds the group.
        gc.collect()
        torch.distributed.destroy_process_group()

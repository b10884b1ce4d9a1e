"""Run the command line tools as a user does, on data and weights small enough for a test."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from forked import run_script
from mmengine.config import Config
from mmengine.registry import DefaultScope
from processes import PRELOADED

from mmkd.publish import plain_model
from mmkd.registry import MODELS

REPO = Path(__file__).parents[2]


@pytest.fixture(scope='session')
def repo():
    return REPO


@pytest.fixture(scope='session')
def small_scenes():
    """Overrides that make a demo config on digit scenes a matter of seconds."""
    return [
        'train_dataloader.dataset.num_images=8',
        'val_dataloader.dataset.num_images=4',
        'test_dataloader.dataset.num_images=4',
        'train_dataloader.batch_size=2',
        'randomness.seed=0',
    ]


@pytest.fixture(scope='session')
def tool(tmp_path_factory):
    """``tool('train.py', CONFIG, ...)`` runs a tool and returns its output; it must succeed.

    Importing mmdet and mmpretrain takes longer than most of what is run. So Python tools are forked
    from a server that has imported them.
    """
    processes = multiprocessing.get_context('forkserver')
    processes.set_forkserver_preload(PRELOADED)
    output = tmp_path_factory.mktemp('tool') / 'output.txt'

    def forked(script, args, env):
        process = processes.Process(target=run_script, args=(script, args, REPO, output, env))
        process.start()
        process.join(600)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f'{script} runs for more than 600 seconds')
        return process.exitcode, output.read_text()

    def run(name, *args, ok=True, env=None):
        script, args, env = str(REPO / 'tools' / name), list(map(str, args)), env or {}
        if name.endswith('.py'):
            code, printed = forked(script, args, env)
        else:
            result = subprocess.run(
                ['bash', script, *args],
                cwd=REPO,
                env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, **env},
                capture_output=True,
                text=True,
                timeout=600,
            )
            code, printed = result.returncode, result.stdout + result.stderr
        assert (code == 0) == ok, printed[-4000:]
        return printed

    return run


@pytest.fixture(scope='session')
def untrained_teacher(tmp_path_factory):
    """Save the weights of a config's model as it is initialised, and return the path."""

    def save(config):
        cfg = Config.fromfile(REPO / config)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            torch.manual_seed(1)
            model = MODELS.build(plain_model(cfg))
        path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
        torch.save(dict(state_dict=model.state_dict()), path)
        return path

    return save


@pytest.fixture(scope='session')
def scenes_teacher(untrained_teacher):
    return untrained_teacher('configs/demo/scenes_teacher.py')


@pytest.fixture(scope='session')
def metrics():
    """Read the metrics that ``tools/test.py`` left in its work dir."""

    def read(work_dir):
        files = list(Path(work_dir).glob('*/*.json'))
        assert len(files) == 1, files
        # MMEngine lets every process write it: the end of a longer text may stand behind a shorter.
        return json.JSONDecoder().raw_decode(files[0].read_text())[0]

    return read

"""A published student is trained on by the tools of mmpretrain and mmdet themselves."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmkd.publish import plain_model, publish
from mmkd.registry import MODELS


@pytest.mark.parametrize(
    ('package', 'name'),
    [
        ('mmpretrain', 'digits_kd'),
        pytest.param('mmdet', 'scenes_pkd', marks=pytest.mark.full),
    ],
)
def test_a_published_student_is_fine_tuned_without_tools_of_ours(
    package, name, repo, small_scenes, tmp_path
):
    cfg = Config.fromfile(repo / 'configs' / 'demo' / f'{name}.py')
    cfg.work_dir = str(tmp_path)
    if package == 'mmdet':
        options = (option.split('=') for option in small_scenes)
        cfg.merge_from_dict({key: int(value) for key, value in options})
    cfg.train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        weights = MODELS.build(plain_model(cfg)).state_dict()
    publish({f'student.{k}': v for k, v in weights.items()}, cfg, tmp_path / 'student.pth')
    folder = Path(importlib.util.find_spec(package).origin).parent
    found = subprocess.run(
        [sys.executable, folder / '.mim' / 'tools' / 'train.py', 'student.py']
        + ['--cfg-options', 'load_from=student.pth'],
        cwd=tmp_path,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    output = found.stdout + found.stderr
    assert found.returncode == 0, output[-4000:]
    assert 'Load checkpoint from student.pth' in output
    assert 'do not match' not in output
    assert not list(tmp_path.glob('epoch_*.pth'))
    tuned = torch.load(tmp_path / 'work_dirs' / 'student' / 'epoch_1.pth')['state_dict']
    assert tuned.keys() == weights.keys()
    assert any(not torch.equal(tuned[key], weights[key]) for key in weights)

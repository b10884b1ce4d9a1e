"""``mmkd train`` with ``compile``."""

import pytest
import torch
from mmengine.registry import DefaultScope

from mmkd.engine.config import read_config
from mmkd.publish import plain_model
from mmkd.registry import MODELS

pytestmark = pytest.mark.full


def test_a_compiled_training_gives_the_same_student(tool, tmp_path):
    """Its learning rate is another one in every step, for which nothing is compiled anew."""
    cfg = read_config('mmkd::demo/digits_teacher.py', 'CONFIG')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        weights = MODELS.build(plain_model(cfg)).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'teacher.pth')

    def student(name, *options):
        printed = tool(
            'train.py',
            'configs/demo/digits_kd.py',
            '--work-dir',
            tmp_path / name,
            '--cfg-options',
            f'model.teacher.checkpoint={tmp_path / "teacher.pth"}',
            'train_cfg.max_epochs=1',
            *options,
        )
        assert 'recompile_limit' not in printed
        return torch.load(tmp_path / name / 'student.pth')['state_dict']

    eager, compiled = student('eager'), student('compiled', 'compile.backend=aot_eager')
    for name, value in eager.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-4, msg=name)

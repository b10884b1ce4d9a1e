"""Every config of the tree builds its model; ``make test-all`` also trains and evaluates it."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmkd.publish import is_distiller, plain_config
from mmkd.registry import MODELS

CONFIGS = Path(__file__).parents[1] / 'configs'
NAMES = sorted(
    str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts
)


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    if is_distiller(cfg.model):
        teachers = cfg.model.get('teachers') or {'': cfg.model.teacher}
        for teacher in teachers.values():
            teacher.checkpoint = 'a file that the test does not read'
    return cfg


@pytest.fixture
def no_weights(monkeypatch):
    """Let teachers keep the weights they are built with."""
    monkeypatch.setattr('mmkd.distillers.teacher.load_plain', lambda *args: None)


@pytest.mark.parametrize('name', NAMES)
def test_config_builds_its_model_and_a_plain_student(name, no_weights):
    cfg = load(name)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        preprocessor = cfg.get('data_preprocessor')
        if preprocessor is not None:
            cfg.model.setdefault('data_preprocessor', preprocessor)
        model = MODELS.build(cfg.model)
        if not is_distiller(cfg.model):
            return
        student = MODELS.build(plain_config(cfg).model)
    assert student.state_dict().keys() == model.student.state_dict().keys()
    assert model.terms

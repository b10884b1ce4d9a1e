"""Sharded training: what it does, and what is refused before the first step."""

import pytest
from mmengine.config import Config
from mmengine.registry import STRATEGIES

from mmkd.cli.check import check_training_config
from mmkd.engine import FSDPStrategy
from mmkd.engine.config import read_config
from mmkd.publish import plain_config

SHARDED = dict(runner_type='FlexibleRunner', strategy=dict(type='FSDPStrategy'))
UNITS = dict(type='FSDPStrategy', model_wrapper=dict(auto_wrap_policy='size_based'))


@pytest.fixture(scope='module')
def cfg():
    return read_config('mmkd::demo/digits_kd.py', 'CONFIG')


def changed(cfg, **options):
    cfg = Config(cfg.to_dict())
    cfg.merge_from_dict(options)
    return cfg


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(runner_type=None), "add runner_type='FlexibleRunner', or remove strategy"),
        (
            dict(strategy=dict(type='DeepSpeedStrategy')),
            "strategy.type='DeepSpeedStrategy' has not been tried with distillers",
        ),
        (dict(custom_hooks=[dict(type='EMAHook')]), 'EMAHook needs the whole model'),
        (
            dict(custom_hooks=[dict(type='mmkd.PretrainHook', losses=['kd'], length=1)]),
            'PretrainHook needs the whole model',
        ),
        (
            {'strategy': UNITS, 'model.type': 'mmkd.MutualDistiller'},
            'a MutualDistiller calls past their forward; remove it',
        ),
    ],
    ids=lambda value: '' if isinstance(value, str) else next(iter(value)),
)
def test_what_does_not_train_sharded_is_refused(cfg, options, said):
    with pytest.raises(ValueError, match=said.replace('.', r'\.')):
        check_training_config(changed(cfg, **{**SHARDED, **options}), 'CONFIG')


def test_units_of_a_student_are_taken(cfg):
    check_training_config(changed(cfg, **SHARDED), 'CONFIG')
    check_training_config(changed(cfg, **{**SHARDED, 'strategy': UNITS}), 'CONFIG')


def test_a_published_student_is_not_sharded(cfg):
    assert not {'strategy', 'runner_type'} & plain_config(changed(cfg, **SHARDED)).keys()


def test_it_stands_in_the_place_of_mmengines():
    assert STRATEGIES.get('FSDPStrategy') is FSDPStrategy
    with pytest.raises(ValueError, match="state_dict_cfg='local' saves shards"):
        FSDPStrategy(state_dict_cfg='local')
    with pytest.raises(ValueError, match='skip_init_weights=True would empty the teachers'):
        FSDPStrategy(skip_init_weights=True)


def test_without_a_process_group_it_says_how_to_start_one(classifier):
    strategy = FSDPStrategy()
    with pytest.raises(ValueError, match=r'start with tools/dist_train.sh'):
        strategy._wrap_model(strategy.build_model(classifier))


def test_weights_of_a_plain_student_are_not_passed_over(classifier):
    strategy = FSDPStrategy()
    model = strategy.build_model(classifier)
    with pytest.raises(ValueError, match='init_cfg=dict'):
        strategy.load_model_state_dict({f'student.{k}': v for k, v in model.state_dict().items()})


def test_teachers_follow_to_the_device_of_what_is_sharded(classifier, save_teacher, monkeypatch):
    """FSDP moves the parameters that it shards and nothing else."""
    strategy = FSDPStrategy()
    model = strategy.build_model(
        dict(
            type='mmkd.OfflineDistiller',
            student=classifier,
            teacher=save_teacher(classifier),
            losses=dict(kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc')),
        )
    )
    monkeypatch.setattr('mmkd.engine.strategy.is_distributed', lambda: True)
    monkeypatch.setattr('mmkd.engine.strategy.get_device', lambda: 'meta')
    monkeypatch.setattr(
        'mmengine._strategy.FSDPStrategy._wrap_model', lambda strategy, model: model
    )
    strategy._wrap_model(model)
    (teacher,) = model.teachers.values()
    assert {p.device.type for p in teacher.model.parameters()} == {'meta'}
    assert {p.device.type for p in model.student.parameters()} == {'cpu'}

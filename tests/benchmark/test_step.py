"""What a step of distillation is measured against, and what is said of it."""

import json
import time
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from mmkd.benchmark import step
from mmkd.benchmark.statistics import median_interval
from mmkd.benchmark.step_page import ratio, ratios, render, write
from mmkd.cli import benchmark_step
from mmkd.engine.config import read_config
from mmkd.losses import KLDivergenceLoss
from mmkd.registry import MODELS

RESULTS = Path(__file__).parents[2] / 'docs/results'
SECONDS, MIB = 0.05, 64


@MODELS.register_module()
class LazyLoss(KLDivergenceLoss):
    """Does nothing for a while, and holds memory until the backward."""

    def forward(self, student, teacher, data_samples=None):
        end = time.process_time() + SECONDS
        while time.process_time() < end:
            pass
        held = torch.ones(MIB * 2**18, device=student.device)
        return (super().forward(student, teacher) * held).mean()


def measured(out):
    return json.loads((out / 'speed.json').read_text())


def test_what_a_term_takes_is_seen_in_its_step_alone(tmp_path, capsys):
    config = 'mmkd::demo/digits_kd.py'
    arguments = [config, '--rounds', '6', '--batch', '4', '--out', str(tmp_path)]
    benchmark_step.main(arguments)
    benchmark_step.main([*arguments, '--cfg-options', 'model.losses.kd.type=LazyLoss'])
    plain, lazy = measured(tmp_path)
    for row in (plain, lazy):
        assert row['seconds'].keys() == row['memory'].keys() == {'step', 'student', 'teacher'}
        assert {len(times) for times in row['seconds'].values()} == {6}
        assert (row['batch'], row['shape']) == (4, [8, 8])
    assert min(lazy['seconds']['step']) >= SECONDS
    assert (
        median_interval(ratios(lazy['seconds']))[0] > median_interval(ratios(plain['seconds']))[0]
    )
    # The gradient of what is held may be there beside it.
    assert MIB <= lazy['memory']['step'] < 4 * MIB
    others = [plain['memory']['step'], *(lazy['memory'][part] for part in ('student', 'teacher'))]
    assert 0 < max(others) < 1
    # The same again takes the row's place.
    benchmark_step.main([*arguments[:1], '--rounds', '7', *arguments[3:]])
    kept, again = measured(tmp_path)
    assert len(again['seconds']['step']) == 7
    assert kept == lazy
    assert (tmp_path / 'speed.md').read_text() == render([kept, again])
    assert f'{config}: R ' in capsys.readouterr().out
    # That of another machine stands beside it, in a table of its own.
    other = {**again, 'environment': {**again['environment'], 'hardware': ['another machine']}}
    write(other, tmp_path)
    assert measured(tmp_path) == [kept, again, other]
    page = (tmp_path / 'speed.md').read_text()
    assert page.index('* another machine, ') > page.rindex(ratio(again), 0, page.rindex('Measured'))
    assert page.count('mmkd benchmark_step') == 3  # who wrote it, and two commands


def built(name, **options):
    """A distiller, its parts, and how often each of its networks ran a batch to train."""
    cfg = read_config(f'mmkd::{name}.py', 'CONFIG')
    cfg.merge_from_dict(options)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = step.build(cfg)
        size = 64 if cfg.default_scope == 'mmdet' else 16
        found = step.parts(model, cfg.optim_wrapper, step.batch(model, 2, (size, size)))

    def counts():
        return {
            name: next(v.item() for k, v in network.state_dict().items() if k.endswith('_tracked'))
            for name, network in model.trained_networks().items()
        }

    return model, found, counts


@pytest.mark.parametrize(
    ('name', 'trained', 'frozen'),
    [
        ('cifar10_16px/resnet20_resnet8_kd', ['student'], ['teacher']),
        ('cifar10_16px/dml_resnet8_resnet14', ['net1', 'net2'], []),
        ('cifar10_16px/exits_beed_resnet8', ['student'], []),
        ('cifar10_16px/ecd_resnet8', ['student', 'teacher'], []),
    ],
)
def test_each_part_runs_its_network_alone_and_trains_nothing(name, trained, frozen):
    model, found, counts = built(name)
    assert list(found) == ['step', *trained, *frozen]
    before = {key: value.clone() for key, value in model.named_parameters()}
    for part, run in found.items():
        was = counts()
        run()
        ran = trained if part == 'step' else [part] if part in trained else []
        assert counts() == {network: was[network] + (network in ran) for network in trained}
    assert all(value.equal(before[key]) for key, value in model.named_parameters())


def test_a_network_with_exits_has_the_losses_of_all_its_classifiers_on_its_own():
    model, _, _ = built('cifar10_16px/exits_ce_resnet8')
    data = step.batch(model, 2, (16, 16))
    model.eval()
    # The objective of this config is nothing else.
    ours = step.own_losses(model.student, **data)
    assert len(ours) == len(model.student.names) > 1
    assert torch.allclose(sum(ours.values()), sum(model(**data, mode='loss').values()))


def test_all_terms_are_on_whenever_they_are_in_a_training():
    # Of its pre-training alone, and from a late epoch on.
    for options in ({}, {'model.losses.ab.end': None, 'model.losses.ab.begin': 5}):
        model, _, _ = built('cifar10_16px/resnet20_resnet8_ab', **options)
        assert [term.factor() for term in model.terms] == [1.0] * len(model.terms)
    # It refuses to run before the phase of its paraphraser.
    _, found, _ = built('cifar10_16px/resnet20_resnet8_ft')
    found['step']()
    model, _, _ = built('cifar10_16px/exits_kd_resnet8')
    assert not model.schedules


def test_a_detector_gets_boxes_of_its_classes_and_its_teacher_runs_to_the_neck():
    model, found, _ = built('demo/scenes_kd')
    ran = []
    teacher = model.teachers[''].model
    for name in ('backbone', 'neck', 'rpn_head', 'roi_head'):
        getattr(teacher, name).register_forward_hook(lambda *args, name=name: ran.append(name))
    found['teacher']()
    assert ran == ['backbone', 'neck']
    labels = [
        sample.gt_instances.labels for sample in step.batch(model, 8, (64, 64))['data_samples']
    ]
    assert 0 <= torch.cat(labels).min() <= torch.cat(labels).max() < 10


def test_ratio_is_that_of_each_round():
    seconds = dict(step=[3.0, 8.0], student=[1.0, 3.0], teacher=[1.0, 1.0])
    assert ratios(seconds) == [1.5, 2.0]


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--rounds', '5'], 'give 6 or more, for an interval'),
        (['--batch', '0'], 'give 1 or more'),
        (['--shape', '0'], 'give one positive number, or two'),
    ],
)
def test_numbers_that_measure_nothing_are_refused(arguments, said, capsys):
    with pytest.raises(SystemExit):
        benchmark_step.main(['mmkd::demo/digits_kd.py', *arguments])
    assert said in capsys.readouterr().err


def test_a_config_without_a_distillation_is_refused():
    with pytest.raises(ValueError, match='digits_student.py trains a plain model'):
        benchmark_step.main(['mmkd::demo/digits_student.py'])


def test_the_page_of_the_tree_is_that_of_its_json():
    assert (RESULTS / 'speed.md').read_text() == render(measured(RESULTS))

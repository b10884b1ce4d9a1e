"""The small tools: what a config says, what its networks cost."""

import re

import pytest
from mmengine.config import Config

from mmkd.cli import flops, print_config


def table(text):
    """Numbers by the name in front of them."""
    rows = [re.split(r'  +', line.strip()) for line in text.splitlines()]
    return {row[0]: [float(cell) for cell in row[1:]] for row in rows[2:]}


def test_costs_of_student_and_teacher_and_their_ratio(capsys):
    flops.main(['mmkd::kd/resnet56_resnet20_cifar100.py'])
    found = table(capsys.readouterr().out)
    # As He et al. and the CRD benchmark say: 0.27 and 0.86 M, 41 and 126 MFLOPs.
    assert found['student'][:2] == [0.278, 0.041]
    assert found['teacher'][:2] == [0.862, 0.126]
    assert found['teacher / student'][:2] == pytest.approx([3.10, 3.08], abs=0.01)


def test_a_detector_costs_up_to_its_boxes_and_in_proportion_to_the_image(capsys):
    found = []
    for size in ('32', '64'):
        flops.main(['mmkd::demo/scenes_student.py', '--shape', size])
        found.append(table(capsys.readouterr().out)['student'])
    assert found[0][0] == found[1][0] == 0.308
    assert found[1][1] > found[0][1] > 0


def test_peers_are_told_apart(capsys):
    flops.main(['mmkd::cifar10_16px/dml_resnet8_resnet14.py'])
    found = table(capsys.readouterr().out)
    assert found['net1'][0] < found['net2'][0]


@pytest.mark.parametrize('shape', [['0'], ['1', '2', '3']])
def test_a_shape_is_one_or_two_positive_numbers(shape, capsys):
    with pytest.raises(SystemExit):
        flops.main(['mmkd::demo/digits_kd.py', '--shape', *shape])
    assert 'give one positive number, or two' in capsys.readouterr().err


def test_a_config_is_printed_with_its_options(tmp_path, capsys):
    out = tmp_path / 'resolved.py'
    arguments = ['mmkd::demo/digits_kd.py', '--out', str(out)]
    print_config.main([*arguments, '--cfg-options', 'randomness.seed=3'])
    assert 'KLDivergenceLoss' in capsys.readouterr().out
    resolved = Config.fromfile(out)
    assert resolved.randomness.seed == 3
    assert resolved.model.losses.kd.type == 'KLDivergenceLoss'
    with pytest.raises(SystemExit, match='resolved.py exists; give another name'):
        print_config.main(arguments)

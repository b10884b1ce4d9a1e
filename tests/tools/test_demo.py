"""tools/demo.py, as ``make demo`` runs it."""

import json
import re

import cv2
import pytest
from matplotlib.figure import Figure
from page import read_page

from mmkd.analysis.picture import Picture
from mmkd.analysis.report import Section
from mmkd.cli import demo

PICTURES = dict(
    digits=['bars.png', 'digits_curves.png'],
    scenes=['bars.png', 'scenes_curves.png', 'scenes_detections.png'],
)


@pytest.mark.parametrize(
    ('name', 'seeds'), [('digits', 1), pytest.param('scenes', 2, marks=pytest.mark.full)]
)
def test_the_teacher_is_best_distillation_beats_the_student_and_the_pictures_are_there(
    name, seeds, tool, tmp_path
):
    printed = tool('demo.py', '--only', name, '--seeds', seeds, '--work-dir', tmp_path)
    (found,) = json.loads((tmp_path / 'results.json').read_text()).values()
    assert [len(found[role]) for role in ('teacher', 'student', 'distilled')] == [1, seeds, seeds]
    (teacher,) = found['teacher']
    assert 100 > teacher > max(found['student'] + found['distilled'])
    assert min(found['student']) > 15
    for alone, distilled in zip(found['student'], found['distilled'], strict=True):
        assert distilled > alone
    assert demo.report({name: found}) in printed
    # Without a terminal, each command is a line that says how far the demo is.
    lines = re.findall(r'^\$ mmkd (?:train|test) .*\[(\d+)%, (.*)\]$', printed, re.MULTILINE)
    assert len(lines) == 2 * (1 + 2 * seeds)
    shares = [int(share) for share, _ in lines]
    assert shares == sorted(shares)
    assert lines[0][1] == 'starting'
    assert re.fullmatch(r'about \d+:\d\d min left', lines[-1][1])
    for picture in PICTURES[name]:
        assert f'{tmp_path / picture}\n' in printed
        assert cv2.imread(str(tmp_path / picture)).std() > 10
    assert printed.rstrip().endswith(str(tmp_path / 'report.html'))
    page = read_page(tmp_path / 'report.html')
    assert page.headings[:3] == ['The demo of mmkd', 'Results', 'All seeds']
    assert not page.external
    assert len(page.images) >= 6
    assert all(image.std() > 10 for image in page.images)


def test_the_table_has_mean_range_and_the_gain_of_each_seed_over_itself():
    # Students far apart, gains close together: the error is that of the paired difference.
    metrics = dict(teacher=[70.0], student=[20.0, 40.0], distilled=[31.0, 53.0])
    head, row = demo.report({'scenes': metrics}).splitlines()
    assert head.split() == ['teacher', 'student', 'distilled', 'gain']
    cells = re.split(r'  +', row)
    assert cells == [
        'scenes, box mAP (%)',
        '70.0',
        '30.0 (20.0 to 40.0)',
        '42.0 (31.0 to 53.0)',
        '+12.0, least +11.0, standard error 1.0',
    ]


def test_one_seed_has_no_range_and_no_error():
    metrics = dict(teacher=[98.0], student=[93.0], distilled=[96.5])
    row = demo.report({'digits': metrics}).splitlines()[1]
    assert re.split(r'  +', row) == ['digits, top-1 (%)', '98.0', '93.0', '96.5', '+3.5']


def test_no_seed_is_refused(capsys):
    with pytest.raises(SystemExit):
        demo.main(['--seeds', '0'])
    assert '--seeds must be 1 or more, found 0' in capsys.readouterr().err


def test_a_second_demo_runs_nothing_again(monkeypatch, tmp_path):
    runs = demo.demo_runs('digits', [0], tmp_path)
    for some in runs.values():
        for run in some:
            usage = dict(command=[], resumed=False, seconds=1)
            run.note(train=usage, test=usage, metrics={'accuracy/top1': 90.0}, date='2026-01-01')
    monkeypatch.setattr(demo, 'draw', lambda *args: Picture('curves', 'Curves', Figure(), ''))
    monkeypatch.setattr(demo, 'section', lambda *args: Section('digits'))
    demo.main(['--only', 'digits', '--seeds', '1', '--work-dir', str(tmp_path)])
    found = json.loads((tmp_path / 'results.json').read_text())['digits']
    assert found == dict(teacher=[90.0], student=[90.0], distilled=[90.0])

"""tools/demo.py, as ``make demo`` runs it."""

import re

import cv2
import pytest

from mmkd.cli import demo

PICTURES = dict(digits=['digits_curves.png'], scenes=['scenes_curves.png', 'scenes_detections.png'])


@pytest.mark.parametrize('name', ['digits', pytest.param('scenes', marks=pytest.mark.full)])
def test_the_teacher_is_best_digits_kd_beats_the_student_and_the_pictures_are_there(
    name, tool, tmp_path
):
    printed = tool('demo.py', '--only', name, '--work-dir', tmp_path)
    (row,) = re.findall(rf'^{name}, .*?((?: +\d+\.\d)+)$', printed, re.MULTILINE)
    teacher, student, distilled = map(float, row.split())
    assert 100 > teacher > max(student, distilled)
    assert min(student, distilled) > 40
    # On the scenes the gain is within the noise of seeds.
    assert distilled > student or name == 'scenes'
    for picture in PICTURES[name]:
        assert f'{tmp_path / picture}\n' in printed
        assert cv2.imread(str(tmp_path / picture)).std() > 10


def test_a_failed_command_shows_the_end_of_its_log_and_where_all_of_it_is(
    repo, tmp_path, monkeypatch
):
    monkeypatch.chdir(repo)
    log = tmp_path / 'train.log'
    with pytest.raises(SystemExit) as stop:
        demo.run(log, 'tools/train.py', 'configs/no_such_file.py')
    assert "configs/no_such_file.py'" in str(stop.value)
    assert str(stop.value).endswith(str(log))
    assert log.exists()

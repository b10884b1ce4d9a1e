"""``mmkd analyze``, with networks as they are initialised."""

import json
import shutil
import subprocess
import sys

import cv2
import pytest
from page import read_page
from weights import save_untrained

from mmkd import cli

DISTILLER, STUDENT = 'mmkd::demo/digits_kd.py', 'mmkd::demo/digits_student.py'


@pytest.fixture
def arguments(tmp_path):
    """A distillation with its teacher, and a student alone."""
    teacher = save_untrained('mmkd::demo/digits_teacher.py', tmp_path / 'teacher' / 'epoch_30.pth')
    alone = save_untrained(STUDENT, tmp_path / 'alone' / 'epoch_30.pth')
    distilled = save_untrained(STUDENT, tmp_path / 'kd' / 'epoch_30.pth', 'student.')
    log = tmp_path / 'kd' / '20260101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    records = [{'loss_kd': 1.0, 'step': 1}, {'loss_kd': 0.5, 'step': 2}]
    records.append({'accuracy/top1': 12.0, 'step': 1})
    log.write_text('\n'.join(map(json.dumps, records)) + '\n')
    few = {'test_dataloader.dataset.indices': 60, 'model.teacher.checkpoint': teacher}
    return [
        *(DISTILLER, distilled, '--with', 'alone', STUDENT, alone, '--out', str(tmp_path / 'out')),
        *('--cfg-options', *(f'{key}={value}' for key, value in few.items())),
    ]


def test_the_report_is_one_page_with_all_in_it(arguments, tmp_path, capsys):
    cli.run('analyze', ['report', *arguments])
    said, file = capsys.readouterr().out.strip().splitlines()[-2:]
    assert file == str(tmp_path / 'out' / 'report.html')
    page = read_page(tmp_path / 'out' / 'report.html')
    assert not page.external
    headings = page.headings
    assert headings[0] == 'teacher and alone and distilled'
    expected = ['Curves', 'Calibration', 'Classes', 'Embeddings (t-SNE)', 'Similarity of layers']
    assert [heading for heading in headings if heading in expected] == expected
    assert len(page.images) == len(headings) - 2
    assert all(image.std() > 5 for image in page.images)
    assert said in page.text
    assert said.startswith('Of 60 test images, distilled gets ')
    # Terms and schedule.
    for text in ('losses.kd', 'head.fc against head.fc, weight 0.9', 'max_epochs', '30'):
        assert text in page.text


def test_a_page_without_grad_cam_says_how_to_get_it(arguments, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pytorch_grad_cam', None)
    cli.run('analyze', ['report', *arguments])
    page = read_page(tmp_path / 'out' / 'report.html')
    assert 'Grad-CAM++' not in page.headings
    assert 'Left out: cam needs pytorch-grad-cam' in page.text
    assert "pip install 'mmkd[analysis]'" in page.text


def browser():
    names = ('chromium', 'chromium-browser', 'google-chrome', 'chrome-headless-shell')
    return next(filter(None, map(shutil.which, names)), None)


@pytest.mark.skipif(browser() is None, reason='there is no Chromium')
def test_a_browser_lays_out_the_page(arguments, tmp_path):
    cli.run('analyze', ['report', *arguments])
    command = [browser(), '--headless', '--no-sandbox', '--disable-gpu', '--window-size=1200,900']
    page = (tmp_path / 'out' / 'report.html').as_uri()
    shot = tmp_path / 'shot.png'
    subprocess.run([*command, f'--screenshot={shot}', page], check=True, timeout=120)
    picture = cv2.imread(str(shot))
    assert picture.shape == (900, 1200, 3)
    assert picture.std() > 10


@pytest.mark.parametrize(
    ('name', 'options', 'numbers'),
    [
        ('embeddings', ['--method', 'pca', '--num-images', '40'], ('images', 40)),
        ('similarity', ['--num-images', '20'], ('reference', 'teacher')),
        ('feature_maps', ['--num-images', '1'], None),
    ],
)
def test_one_picture_and_its_numbers(name, options, numbers, arguments, tmp_path, capsys):
    cli.run('analyze', [name, *options, *arguments])
    caption, file = capsys.readouterr().out.strip().splitlines()[-2:]
    assert file == str(tmp_path / 'out' / f'{name}.png')
    assert caption.endswith('.')
    assert cv2.imread(file).std() > 5
    found = json.loads((tmp_path / 'out' / f'{name}.json').read_text())
    if numbers:
        assert found[numbers[0]] == numbers[1]


@pytest.mark.parametrize(
    ('given', 'sentence'),
    [
        (['calibration', '--num-images', '3'], '--num-images is no option of calibration'),
        (['cam', '--method', 'pca'], '--method is no option of cam'),
    ],
)
def test_what_a_picture_does_not_take_is_refused(given, sentence, arguments, capsys):
    with pytest.raises(SystemExit):
        cli.run('analyze', [*given, *arguments])
    assert sentence in capsys.readouterr().err

"""The documentation site."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from weights import save_untrained

from mmkd import cli

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'

TEACHERS = {
    'digits_teacher': 'work_dirs/demo/digits_teacher/epoch_30.pth',
    'scenes_teacher': 'work_dirs/demo/scenes_teacher/epoch_12.pth',
}


def rows(page):
    """First cells of the tables of a page."""
    lines = (DOCS / page).read_text().splitlines()
    cells = [line.split('|')[1].strip() for line in lines if line.startswith('| ')]
    return [cell for cell in cells if cell and not cell.startswith('---')][1:]


def test_the_sentences_of_troubleshooting_are_said():
    text = ''.join(path.read_text() for path in sorted((ROOT / 'mmkd').rglob('*.py')))
    # Literals that Python joins.
    text = re.sub(r"""(['"])\s*\n\s*f?['"]""", '', text)
    sentences = rows('howto/troubleshooting.md')
    assert len(sentences) > 9
    for sentence in sentences:
        assert sentence in text, sentence


def test_quoted_results_stand_on_the_page_that_they_link_to():
    pages = [ROOT / 'README.md', *ROOT.glob('configs/*/README.md'), *DOCS.rglob('*.md')]
    pages = [page for page in pages if not {'_build', 'generated'} & {*page.parts}]
    links = [
        (number, page.parent / target)
        for page in pages
        for text, target in re.findall(r'\[([^]]+)\]\(([^)]*results/\w+\.md)\)', page.read_text())
        for number in re.findall(r'[+-]?\d+\.\d+(?: ± \d+\.\d+)?', text)
    ]
    assert links
    for number, target in links:
        assert number in target.read_text(), f'{number} is not in {target}'


def test_every_page_is_in_the_contents():
    pages = {
        str(path.relative_to(DOCS).with_suffix(''))
        for path in DOCS.rglob('*.md')
        if not {'_build', 'generated'} & {*path.parts}
    }
    listed = {'index'}
    for path in DOCS.rglob('index.md'):
        folder = path.parent.relative_to(DOCS)
        for block in re.findall(r'```{toctree}(.*?)```', path.read_text(), re.DOTALL):
            names = [line for line in block.splitlines() if line and not line.startswith(':')]
            listed |= {str(folder / name) for name in names}
    assert pages <= listed, pages - listed


def commands(page):
    """Commands in the shell blocks of a page, continued lines joined."""
    text = page.read_text()
    blocks = re.findall(r'```shell\n(.*?)```', text, re.DOTALL)
    lines = [line for b in blocks for line in b.replace('\\\n', ' ').splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def follow_own_data():
    """Do what the page on own data says is there: its configs, and images that they read."""
    text = (DOCS / 'howto/own_data.md').read_text()
    for name, body in re.findall(r'```python\n# (\w+\.py)\n(.*?)```', text, re.DOTALL):
        Path(name).write_text(body)
    image = np.arange(60 * 80 * 3, dtype=np.uint8).reshape(60, 80, 3)
    for split in ('train', 'val'):
        for folder in ('flowers/{}/daisy', 'flowers/{}/rose', 'flowers/{}/tulip', 'cells/{}'):
            path = Path('data', folder.format(split), '0.jpg')
            path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), image)
        box = dict(bbox=[10, 10, 30, 30], area=900, iscrowd=0, image_id=0)
        coco = dict(
            images=[dict(id=0, file_name='0.jpg', height=60, width=80)],
            annotations=[dict(box, id=i, category_id=i) for i in (1, 2)],
            categories=[dict(id=1, name='red'), dict(id=2, name='white')],
        )
        Path(f'data/cells/{split}.json').write_text(json.dumps(coco))


#: Pages whose commands need GPUs, as they say.
NEED_GPUS = {'many_gpus'}


def test_commands_of_the_how_tos_run(tmp_path, monkeypatch, capsys):
    """All of them, after a training that is as short as can be, in their order."""
    monkeypatch.chdir(tmp_path)
    for name, path in TEACHERS.items():
        save_untrained(f'mmkd::demo/{name}.py', path)
    save_untrained('mmkd::demo/digits_student.py', 'work_dirs/digits_kd/epoch_1.pth', 'student.')
    save_untrained('mmkd::demo/digits_student.py', 'work_dirs/digits_student/epoch_1.pth')
    follow_own_data()
    pages = [path for path in sorted((DOCS / 'howto').glob('*.md')) if path.stem not in NEED_GPUS]
    found = [command for page in pages for command in commands(page)]
    assert len(found) > 5
    for program, name, *arguments in found:
        assert program == 'mmkd'
        cli.run(name, arguments)
    assert 'PKDLoss' in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} >= {'student.pth', 'release.py', 'scenes.png'}


def test_pages_that_need_gpus_say_so():
    for name in NEED_GPUS:
        assert 'need the GPUs' in (DOCS / 'howto' / f'{name}.md').read_text()


@pytest.mark.full
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip('furo')
    command = [sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q', str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'class="py class"' in (tmp_path / 'api/losses.html').read_text()


@pytest.mark.full
@pytest.mark.parametrize('name', ['classification', 'detection'])
def test_notebooks_run_and_hold_no_outputs(name, tmp_path, monkeypatch):
    nbclient = pytest.importorskip('nbclient')
    nbformat = pytest.importorskip('nbformat')
    notebook = nbformat.read(DOCS / 'notebooks' / f'{name}.ipynb', as_version=4)
    assert not any(cell.get('outputs') for cell in notebook.cells)
    # The kernel finds this tree.
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    context = dict(metadata=dict(path=str(tmp_path)))
    nbclient.NotebookClient(notebook, timeout=600, resources=context).execute()
    assert list((tmp_path / 'work_dirs/notebook').glob('*/student.pth'))

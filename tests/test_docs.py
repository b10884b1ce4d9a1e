"""The documentation site."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'


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


@pytest.mark.full
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip('furo')
    command = [sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q', str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'class="py class"' in (tmp_path / 'api/losses.html').read_text()

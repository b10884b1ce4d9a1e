"""The Dockerfile, as far as it can be held without an engine."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from resolver import resolve

ROOT = Path(__file__).parents[1]


def instructions():
    """Instructions of the Dockerfile as pairs of keyword and rest, continued lines joined."""
    text = (ROOT / 'docker/Dockerfile').read_text()
    text = '\n'.join(line for line in text.splitlines() if not line.startswith('#'))
    lines = text.replace('\\\n', ' ').splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def pip_lines(text):
    return [' '.join(shlex.split(line)) for line in re.findall(r'pip install -c [^\n#]+', text)]


def test_its_base_is_an_argument_and_its_steps_are_shell():
    keywords = [keyword for keyword, _ in instructions()]
    assert keywords[:2] == ['ARG', 'FROM']
    assert instructions()[0][1].startswith('BASE=')
    assert dict(instructions())['FROM'] == '${BASE}'
    for keyword, rest in instructions():
        if keyword == 'RUN':
            subprocess.run(['sh', '-n', '-c', rest], check=True)


def test_its_pip_lines_are_the_readmes():
    assert pip_lines((ROOT / 'docker/Dockerfile').read_text()) == pip_lines(
        (ROOT / 'README.md').read_text()
    )


@pytest.mark.full
def test_its_pip_lines_resolve_in_a_fresh_environment(tmp_path):
    subprocess.run([sys.executable, '-m', 'venv', tmp_path], check=True)
    first, *_ = pip_lines((ROOT / 'docker/Dockerfile').read_text())
    resolve(tmp_path / 'bin/python', first.split())

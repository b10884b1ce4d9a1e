"""pip's resolver, which the tests of what is to be typed ask."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def resolve(python, line, *options):
    """What pip prints of an install that it only resolves; skips where there is no index.

    Args: the interpreter, the words of the line from `pip` on, and further options.
    """
    done = subprocess.run(
        [python, '-m', *line, '--dry-run', '--quiet', *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode and re.search('connection|timed out|No matching distribution', done.stderr):
        pytest.skip(f'pip reaches no index: {done.stderr.splitlines()[-1]}')
    assert done.returncode == 0, done.stderr
    return done.stdout

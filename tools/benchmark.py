"""``mmkd benchmark``, in a clone."""

import sys

from mmkd.cli import run

run('benchmark', sys.argv[1:])

"""``mmkd benchmark_step``, in a clone."""

import sys

from mmkd.cli import run

run('benchmark_step', sys.argv[1:])

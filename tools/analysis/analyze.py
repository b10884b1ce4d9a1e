"""``mmkd analyze``, in a clone."""

import sys

from mmkd.cli import run

run('analyze', sys.argv[1:])

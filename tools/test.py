"""``mmkd test``, in a clone."""

import sys

from mmkd.cli import run

run('test', sys.argv[1:])

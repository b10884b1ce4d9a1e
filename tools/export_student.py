"""``mmkd export``, in a clone."""

import sys

from mmkd.cli import run

run('export', sys.argv[1:])

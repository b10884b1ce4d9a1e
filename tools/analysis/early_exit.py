"""``mmkd early_exit``, in a clone."""

import sys

from mmkd.cli import run

run('early_exit', sys.argv[1:])

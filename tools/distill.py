"""``mmkd distill``, in a clone."""

import sys

from mmkd.cli import run

run('distill', sys.argv[1:])

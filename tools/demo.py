"""``mmkd demo``, in a clone."""

import sys

from mmkd.cli import run

run('demo', sys.argv[1:])

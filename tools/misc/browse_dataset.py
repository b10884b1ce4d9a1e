"""``mmkd browse_dataset``, in a clone."""

import sys

from mmkd.cli import run

run('browse_dataset', sys.argv[1:])

"""``mmkd train``, in a clone."""

import sys

from mmkd.cli import run

run('train', sys.argv[1:])

"""``mmkd flops``, in a clone."""

import sys

from mmkd.cli import run

run('flops', sys.argv[1:])

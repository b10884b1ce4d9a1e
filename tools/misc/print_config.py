"""``mmkd print_config``, in a clone."""

import sys

from mmkd.cli import run

run('print_config', sys.argv[1:])

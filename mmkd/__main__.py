"""``python -m mmkd``, the same as ``mmkd``."""

from mmkd.cli import main

main()

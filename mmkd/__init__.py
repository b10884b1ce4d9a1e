"""mmkd: knowledge distillation on MMEngine."""

from mmkd.stack import check_stack
from mmkd.version import __version__

check_stack()

# Registers the scope `mmkd` and the configs with MMEngine; keeps the loading of checkpoints safe.
from mmkd import registry  # noqa: E402, F401
from mmkd.engine import checkpoint, config  # noqa: E402, F401

__all__ = ['__version__']

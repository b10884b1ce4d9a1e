"""Networks."""

from .backbones import *  # noqa: F403
from .exits import *  # noqa: F403
from .layers import *  # noqa: F403
from .multi_exit import MultiExitClassifier, Outputs  # noqa: F401
from .torch_model import TorchModel  # noqa: F401

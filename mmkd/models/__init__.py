"""Networks."""

from .backbones import *  # noqa: F403

"""Exits: auxiliary classifiers that start at a tap of a network."""

from .base import Exit
from .stage_exits import (
    APFCExit,
    DenseNetExit,
    MobileNetV1Exit,
    MobileNetV2Exit,
    PreActExit,
    ResNetExit,
)

__all__ = [
    'APFCExit',
    'DenseNetExit',
    'Exit',
    'MobileNetV1Exit',
    'MobileNetV2Exit',
    'PreActExit',
    'ResNetExit',
]

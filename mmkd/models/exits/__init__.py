"""Exits: auxiliary classifiers that start at a tap of a network."""

from .base import Exit
from .branch import BranchExit
from .stage_exits import (
    APFCExit,
    DenseNetExit,
    MobileNetV1Exit,
    MobileNetV2Exit,
    PreActExit,
    ResNetExit,
)
from .structures import BottleneckExit, BYOTExit, LCTExit, LinearExit, TOFDExit, TokenExit

__all__ = [
    'APFCExit',
    'BYOTExit',
    'BottleneckExit',
    'BranchExit',
    'DenseNetExit',
    'Exit',
    'LCTExit',
    'LinearExit',
    'MobileNetV1Exit',
    'MobileNetV2Exit',
    'PreActExit',
    'ResNetExit',
    'TOFDExit',
    'TokenExit',
]

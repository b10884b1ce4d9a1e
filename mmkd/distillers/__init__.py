"""Who learns from whom."""

from .base import BaseDistiller, Distiller
from .connection import ConnectionDistiller
from .detection import DetectionDistiller
from .multi_exit import MultiExitDistiller
from .mutual import MutualDistiller
from .offline import OfflineDistiller
from .teacher import Teacher
from .term_distiller import TermDistiller

__all__ = [
    'BaseDistiller',
    'ConnectionDistiller',
    'DetectionDistiller',
    'Distiller',
    'MultiExitDistiller',
    'MutualDistiller',
    'OfflineDistiller',
    'Teacher',
    'TermDistiller',
]

"""Who learns from whom."""

from .base import BaseDistiller
from .detection import DetectionDistiller
from .offline import OfflineDistiller
from .teacher import Teacher

__all__ = ['BaseDistiller', 'DetectionDistiller', 'OfflineDistiller', 'Teacher']

"""What runs around a distiller: hooks, launching, safe loading."""

from .hooks import PublishStudentHook, StepSeedHook

__all__ = ['PublishStudentHook', 'StepSeedHook']

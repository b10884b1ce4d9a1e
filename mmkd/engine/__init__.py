"""What runs around a distiller: hooks, launching, safe loading."""

from .hooks import PretrainHook, PublishStudentHook, StepSeedHook

__all__ = ['PretrainHook', 'PublishStudentHook', 'StepSeedHook']

"""What runs around a distiller: hooks, launching, safe loading."""

from .hooks import CheckDataHook, CheckFiniteHook, PretrainHook, PublishStudentHook, StepSeedHook

__all__ = ['CheckDataHook', 'CheckFiniteHook', 'PretrainHook', 'PublishStudentHook', 'StepSeedHook']

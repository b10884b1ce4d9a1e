"""What runs around a distiller: hooks, launching, safe loading."""

from .hooks import CheckpointHook, PretrainHook, PublishStudentHook, StepSeedHook

__all__ = ['CheckpointHook', 'PretrainHook', 'PublishStudentHook', 'StepSeedHook']

"""What runs around a distiller: hooks, launching, safe loading."""

from .hooks import (
    CheckDataHook,
    CheckFiniteHook,
    CheckpointHook,
    EvaluateTeacherHook,
    PretrainHook,
    PublishStudentHook,
    StepSeedHook,
)

__all__ = [
    'CheckDataHook',
    'CheckFiniteHook',
    'CheckpointHook',
    'EvaluateTeacherHook',
    'PretrainHook',
    'PublishStudentHook',
    'StepSeedHook',
]

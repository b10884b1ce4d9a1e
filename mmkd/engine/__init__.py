"""What runs around a distiller: hooks, launching, safe loading."""

from .amp import BFloat16OptimWrapper
from .hooks import (
    CheckDataHook,
    CheckFiniteHook,
    CheckpointHook,
    EvaluateTeacherHook,
    GradientShareHook,
    PretrainHook,
    PublishStudentHook,
    StepSeedHook,
)

__all__ = [
    'BFloat16OptimWrapper',
    'CheckDataHook',
    'CheckFiniteHook',
    'CheckpointHook',
    'EvaluateTeacherHook',
    'GradientShareHook',
    'PretrainHook',
    'PublishStudentHook',
    'StepSeedHook',
]

"""What runs around a distiller: hooks, launching, safe loading."""

from .hooks import (
    CheckDataHook,
    CheckFiniteHook,
    CheckpointHook,
    EvaluateTeacherHook,
    GradientShareHook,
    PretrainHook,
    PublishStudentHook,
    StepSeedHook,
    UncompiledOptimizerHook,
)
from .optim_wrapper import BFloat16OptimWrapper

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
    'UncompiledOptimizerHook',
]

"""What runs around a distiller: hooks, launching, safe loading."""

from .hooks import (
    CheckDataHook,
    CheckFiniteHook,
    CheckpointHook,
    DeviceAugmentHook,
    EvaluateTeacherHook,
    GradientShareHook,
    PretrainHook,
    PublishStudentHook,
    StepSeedHook,
    UncompiledOptimizerHook,
)
from .optim_wrapper import BFloat16OptimWrapper, StudentOptimWrapperConstructor
from .strategy import FSDPStrategy

__all__ = [
    'BFloat16OptimWrapper',
    'CheckDataHook',
    'CheckFiniteHook',
    'CheckpointHook',
    'DeviceAugmentHook',
    'EvaluateTeacherHook',
    'FSDPStrategy',
    'GradientShareHook',
    'PretrainHook',
    'PublishStudentHook',
    'StepSeedHook',
    'StudentOptimWrapperConstructor',
    'UncompiledOptimizerHook',
]

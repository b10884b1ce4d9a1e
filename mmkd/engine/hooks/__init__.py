"""Hooks of the training loop."""

from .check_data import CheckDataHook
from .check_finite import CheckFiniteHook
from .checkpoint import CheckpointHook
from .device_augment import DeviceAugmentHook
from .evaluate_teacher import EvaluateTeacherHook
from .gradient_share import GradientShareHook
from .pretrain import PretrainHook
from .publish_student import PublishStudentHook
from .step_seed import StepSeedHook
from .uncompiled_optimizer import UncompiledOptimizerHook

__all__ = [
    'CheckDataHook',
    'CheckFiniteHook',
    'CheckpointHook',
    'DeviceAugmentHook',
    'EvaluateTeacherHook',
    'GradientShareHook',
    'PretrainHook',
    'PublishStudentHook',
    'StepSeedHook',
    'UncompiledOptimizerHook',
]

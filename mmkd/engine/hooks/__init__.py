"""Hooks of the training loop."""

from .checkpoint import CheckpointHook
from .pretrain import PretrainHook
from .publish_student import PublishStudentHook
from .step_seed import StepSeedHook

__all__ = ['CheckpointHook', 'PretrainHook', 'PublishStudentHook', 'StepSeedHook']

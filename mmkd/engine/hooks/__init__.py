"""Hooks of the training loop."""

from .pretrain import PretrainHook
from .publish_student import PublishStudentHook
from .step_seed import StepSeedHook

__all__ = ['PretrainHook', 'PublishStudentHook', 'StepSeedHook']

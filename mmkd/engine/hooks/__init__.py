"""Hooks of the training loop."""

from .publish_student import PublishStudentHook
from .step_seed import StepSeedHook

__all__ = ['PublishStudentHook', 'StepSeedHook']

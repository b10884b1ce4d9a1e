"""Hooks of the training loop."""

from .publish_student import PublishStudentHook
from .random_state import RandomStateHook

__all__ = ['PublishStudentHook', 'RandomStateHook']

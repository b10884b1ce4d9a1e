"""What runs around a distiller: hooks, launching, safe loading."""

from .hooks import PublishStudentHook, RandomStateHook

__all__ = ['PublishStudentHook', 'RandomStateHook']

"""Metrics."""

from .output_accuracy import OutputAccuracy

__all__ = ['OutputAccuracy']

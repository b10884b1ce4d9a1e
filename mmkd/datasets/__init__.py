"""The data of the demo: made from what scikit-learn carries along, nothing is downloaded."""

from .digit_scenes import DigitScenes
from .digits import Digits

__all__ = ['DigitScenes', 'Digits']

"""The data of the demo, made from what scikit-learn carries along, and few images of other data."""

from .digit_scenes import DigitScenes
from .digits import Digits
from .few_images import FewImages
from .unlabelled import MarkUnlabelled

__all__ = ['DigitScenes', 'Digits', 'FewImages', 'MarkUnlabelled']

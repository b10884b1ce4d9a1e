"""What ``mmkd distill`` knows of methods: their default taps and weights for a pair of models."""

from .anatomy import Anatomy, Point, build, examine, training_size
from .pairs import Compared, Pair, Reference, UnfitError
from .table import (
    CLASSIFICATION,
    DETECTION,
    METHODS,
    Recipe,
    compare,
    fitting,
    recipes_for,
    write_term,
)

__all__ = [
    'CLASSIFICATION',
    'DETECTION',
    'METHODS',
    'Anatomy',
    'Compared',
    'Pair',
    'Point',
    'Recipe',
    'Reference',
    'UnfitError',
    'build',
    'compare',
    'examine',
    'fitting',
    'recipes_for',
    'training_size',
    'write_term',
]

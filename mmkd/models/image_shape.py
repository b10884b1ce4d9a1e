"""The dummy images that networks run on when they are built, and their size."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor, nn

T = TypeVar('T')

#: Shape (C, H, W) of a dummy image for networks that take any size.
DEFAULT_SHAPE = (3, 64, 64)
#: Side of ImageNet's images, for networks that run on no small one, such as VGG's classifier.
LARGE_SIDE = 224


def image_size(model: nn.Module) -> tuple[int, int] | None:
    """The height and width that a backbone is bound to.

    Those with a position embedding or windows of a fixed size have an ``img_size``.

    Args:
        model (nn.Module): A classifier or detector.

    Returns:
        tuple[int], optional: None for a network that takes any size.
    """
    backbone = getattr(model, 'backbone', None)
    bound = backbone is not None and inspect.signature(type(backbone)).parameters.get('img_size')
    # Where it is kept: in the backbone, or in what cuts the image into patches.
    parts = [backbone, *backbone.children()] if backbone is not None else []
    given = [
        getattr(part, name, None)
        for part in parts
        for name in ('img_size', *(['init_input_size'] if bound else []))
    ]
    for size in [*given, bound.default if bound else None]:
        if size is not None:
            return (size, size) if isinstance(size, int) else tuple(size)
    return None


def image_shapes(*models: nn.Module) -> list[tuple[int, int, int]]:
    """Shapes (C, H, W) to try for a dummy image of networks that see the same images.

    Args:
        models (nn.Module): Classifiers or detectors.

    Returns:
        list[tuple[int]]: Of the first that is bound to a size; else the small default, and the size
        of ImageNet for networks that do not say that they are bound to one.
    """
    sizes = [size for size in map(image_size, models) if size is not None]
    sizes = sizes[:1] or [DEFAULT_SHAPE[1:], (LARGE_SIDE, LARGE_SIDE)]
    return [(DEFAULT_SHAPE[0], *size) for size in sizes]


def first_fit(
    shapes: Sequence[tuple[int, int, int]], run: Callable[[tuple[int, int, int]], T]
) -> T:
    """What a dry forward gives for the first shape of images that it runs on.

    Args:
        shapes (sequence of tuple[int]): To try, (C, H, W) each.
        run (Callable): The forward of images of a shape.

    Raises:
        ValueError: The first one, if ``run`` raises one for every shape.
    """
    errors = []
    for shape in shapes:
        try:
            return run(shape)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


@contextmanager
def dry(
    whom: str,
    inputs: Tensor,
    fix: str = 'set model.input_shape to a size it takes, or tap its backbone or neck alone',
) -> Iterator[None]:
    """Whatever a network raises in a dry forward becomes a ValueError that says where it was."""
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f'the dry forward of {whom} with images of {tuple(inputs.shape[1:])} failed: '
            f'{str(error) or type(error).__name__}; {fix}'
        ) from error

"""The size of images that a network was made for."""

from __future__ import annotations

import inspect

from torch import nn

#: Shape (C, H, W) of a dummy image for networks that take any size.
DEFAULT_SHAPE = (3, 64, 64)


def image_size(model: nn.Module) -> tuple[int, int] | None:
    """The height and width that a backbone is bound to.

    Those with a position embedding or windows of a fixed size have an ``img_size``.

    Args:
        model (nn.Module): A classifier or detector.

    Returns:
        tuple[int], optional: None for a network that takes any size.
    """
    backbone = getattr(model, 'backbone', None)
    size = getattr(backbone, 'img_size', None)
    if size is None and backbone is not None:
        default = inspect.signature(type(backbone)).parameters.get('img_size')
        if default is None:
            return None
        size = getattr(getattr(backbone, 'patch_embed', None), 'init_input_size', default.default)
    return (size, size) if isinstance(size, int) else size and tuple(size)


def image_shape(*models: nn.Module) -> tuple[int, int, int]:
    """Shape (C, H, W) of a dummy image for networks that see the same images.

    Args:
        models (nn.Module): Classifiers or detectors.

    Returns:
        tuple[int]: Of the first that is bound to a size, else ``DEFAULT_SHAPE``.
    """
    sizes = [size for size in map(image_size, models) if size is not None]
    return (DEFAULT_SHAPE[0], *(sizes[0] if sizes else DEFAULT_SHAPE[1:]))

"""Networks of plain torch, such as timm's and torchvision's, as models of mmpretrain."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from mmkd.registry import MODELS


class _AsItIs(ClsHead):
    """A head for a network that ends with its own classifier."""

    def pre_logits(self, feats: Tensor) -> Tensor:
        return feats


@MODELS.register_module()
class TorchModel(ImageClassifier):
    """Any module that takes a batch of images and gives one tensor, for a teacher.

    Its parts are tapped as ``'backbone.<path>'``, its output as ``'head'``.

    Args:
        factory (str): Where the function or class lies that makes the module, such as
            ``'timm.create_model'``, ``'torchvision.models.resnet50'`` or one of your own.
        arguments (dict, optional): Its keyword arguments.
        trained (bool, optional): Whether it gives trained weights. Defaults to whether
            ``arguments`` has a true ``pretrained`` or ``weights``.
        mean (sequence of float, optional): Mean of the pixels, in 0 to 1, that it was trained with.
            Defaults to that of timm's ``pretrained_cfg``.
        std (sequence of float, optional): Their standard deviation, likewise.
        to_rgb (bool): Whether the channels that the data set gives are to be swapped. Defaults to
            True, for files, which mmcv reads as BGR; False for mmpretrain's ``CIFAR10``, which
            gives RGB.

    Raises:
        ImportError: If the factory's package is not installed or has no such name.
        TypeError: If the factory gives no module, or does not take the arguments.
        ValueError: If mean and std are not known.

    Example:
        >>> teacher=dict(
        ...     config=dict(
        ...         type='mmkd.TorchModel',
        ...         factory='timm.create_model',
        ...         arguments=dict(model_name='resnet50.a1_in1k', pretrained=True)))
    """

    def __init__(
        self,
        factory: str,
        arguments: Mapping[str, Any] | None = None,
        trained: bool | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        to_rgb: bool = True,
    ) -> None:
        arguments = dict(arguments or {})
        make = _find(factory)
        try:
            module = make(**arguments)
        except TypeError as error:
            raise TypeError(f'TorchModel: {factory}(**{arguments}): {error}') from error
        if not isinstance(module, nn.Module):
            raise TypeError(
                f'TorchModel: {factory} gave a {type(module).__name__}, expected a torch.nn.Module'
            )
        known = getattr(module, 'pretrained_cfg', None) or {}
        mean, std = mean or known.get('mean'), std or known.get('std')
        if mean is None or std is None:
            raise ValueError(
                f'TorchModel: {factory} does not say with which mean and std its images were '
                'normalised; give mean and std, of pixels in 0 to 1'
            )
        super().__init__(
            backbone=module,
            head=_AsItIs(),
            data_preprocessor=dict(
                type='ClsDataPreprocessor',
                _scope_='mmpretrain',
                mean=[255 * value for value in mean],
                std=[255 * value for value in std],
                to_rgb=to_rgb,
            ),
        )
        if trained is None:
            trained = bool(arguments.get('pretrained') or arguments.get('weights'))
        #: Whether the weights are trained ones already.
        self.trained = trained


def _find(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition('.')
    if not module:
        raise ImportError(
            f"TorchModel: factory={path!r}, expected a dotted path such as 'timm.create_model'"
        )
    package = module.partition('.')[0]
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        fix = "pip install 'mmkd[timm]'" if package == 'timm' else 'install it or correct the path'
        raise ImportError(f'TorchModel: factory={path!r}: {error}; {fix}') from error
    except AttributeError as error:
        raise ImportError(f'TorchModel: factory={path!r}: {error}; correct the path') from error

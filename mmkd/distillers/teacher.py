"""A frozen teacher: built from a config, loaded strictly, seen by nothing but the distiller."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import NoneType
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from torch import Tensor, nn

from mmkd.build import check_config, is_shape
from mmkd.engine.config import read_config
from mmkd.models.torch_model import TorchModel
from mmkd.publish import load_plain, plain_model
from mmkd.registry import MODELS

_DTYPES = ('bfloat16', 'float16', 'float32')


class Teacher:
    """A frozen model that is not an ``nn.Module`` child of anything.

    It is therefore in no state dict and no optimizer, is not initialised, broadcast, sharded or
    averaged, and stays in ``eval()`` whatever ``train()`` is called on. The distiller moves it
    along. Copies of a distiller share it.

    Args:
        student_preprocessor (nn.Module): Data preprocessor of the student: what batches are
            normalised and padded with.
        config (str | dict): A config file, a name such as
            ``'mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'``, or a model config. The config
            of a distiller stands for its student.
        checkpoint (str, optional): Weights of the whole model; a distiller's checkpoint gives its
            student's. May be left out if the model's own ``init_cfg`` is of type ``Pretrained``,
            if the factory of a :class:`~mmkd.models.TorchModel` gives trained weights, and for a
            config of a package whose metafile names published weights, which are then downloaded
            once.
        input_size (int or tuple[int], optional): Height and width to which the teacher's images are
            resized, bilinearly. Defaults to None, those of the student.
        dtype (str, optional): ``'bfloat16'``, ``'float16'`` or ``'float32'``: what the teacher
            computes in, under torch's autocast, whatever the student does. Its taps are given in
            float32 then, its weights stay as they are. Defaults to None, as the student.
        key (str): The config key, for messages, such as ``'model.teacher'``.

    Raises:
        ValueError: If there are no weights, or they do not fit the model key by key, or the
            student's padding does not suit the teacher.
        FileNotFoundError: If a file does not exist.
        ConnectionError: If published weights cannot be downloaded.
    """

    def __init__(
        self,
        student_preprocessor: nn.Module,
        config: str | dict,
        checkpoint: str | None = None,
        input_size: int | Sequence[int] | None = None,
        dtype: str | None = None,
        key: str = 'model.teacher',
    ) -> None:
        self.key = key
        if dtype not in (None, *_DTYPES):
            raise ValueError(f'{key}.dtype={dtype!r}, expected one of {", ".join(_DTYPES)}')
        self.dtype = dtype and getattr(torch, dtype)
        self.input_size = _size(input_size, f'{key}.input_size')
        model_cfg = teacher_model(config, key)
        if not isinstance(checkpoint, (str, NoneType)):
            raise TypeError(f'{key}.checkpoint={checkpoint!r}, expected the path of a file')
        checkpoint = checkpoint or _pretrained(model_cfg) or _published(config)
        if checkpoint is None and not model_cfg.get('factory'):
            raise ValueError(_no_weights(key, 'its config names no published weights'))
        try:
            self.model: nn.Module = MODELS.build(model_cfg)
        except ImportError as error:
            raise ImportError(f'{key}.config: {error}') from error
        if checkpoint is None and not self.model.trained:
            raise ValueError(_no_weights(key, 'its factory was asked for none'))
        meta = {}
        if checkpoint is not None:
            # The file of a plain torch module knows nothing of what is around it.
            loaded = self.model.backbone if isinstance(self.model, TorchModel) else self.model
            try:
                meta = load_plain(loaded, checkpoint, f'{key}.checkpoint')
            except (FileNotFoundError, ConnectionError) as error:
                raise type(error)(f'{error}; {_how_to_get(config, checkpoint, key)}') from error
        #: Names of the classes that the weights were trained on, where the checkpoint has them.
        self.classes = list((meta.get('dataset_meta') or {}).get('classes') or ())
        self.model.requires_grad_(False)
        self.model.eval()
        if self.input_size and hasattr(self.model, 'roi_head'):
            raise ValueError(
                f'{key}.input_size={input_size!r}: the teacher pools the boxes of the student, '
                'which are not resized; remove input_size'
            )
        self._match(student_preprocessor)

    def __deepcopy__(self, memo: dict) -> Teacher:
        return self

    def apply_(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> None:
        """Move or cast the teacher as ``nn.Module._apply`` does."""
        self.model._apply(fn, recurse)
        if self._affine is not None:
            self._affine = fn(self._affine)

    def prepare(self, batch: dict) -> dict:
        """A batch of a data loader as the teacher takes it, by its own data preprocessor.

        Args:
            batch (dict): What a data loader gives.
        """
        preprocessor = self.model.data_preprocessor.to(next(self.model.parameters()).device)
        data = preprocessor(batch, False)
        data['inputs'] = self._resized(data['inputs'])
        return data

    def predict(self, batch: dict) -> list:
        """What the teacher itself predicts, with its own data preprocessor.

        Args:
            batch (dict): What a data loader gives.
        """
        data = self.prepare(batch)
        with self.precision(data['inputs'].device):
            return self.model(**data, mode='predict')

    def precision(self, device: torch.device) -> AbstractContextManager:
        """The context of a forward in ``dtype``.

        Args:
            device (torch.device): Where the teacher runs.
        """
        if self.dtype is None:
            return nullcontext()
        # To switch it off, autocast wants no dtype.
        half = None if self.dtype == torch.float32 else self.dtype
        return torch.autocast(device.type, half, enabled=half is not None)

    def _resized(self, inputs: Tensor) -> Tensor:
        if not self.input_size or tuple(inputs.shape[2:]) == self.input_size:
            return inputs
        mode = dict(mode='bilinear', align_corners=False, antialias=True)
        return F.interpolate(inputs, self.input_size, **mode)

    def _match(self, student: nn.Module) -> None:
        """Find what turns the student's normalised pixels into the teacher's."""
        ours = getattr(student, 'pad_size_divisor', 1)
        theirs = getattr(self.model.data_preprocessor, 'pad_size_divisor', 1)
        if ours % theirs:
            raise ValueError(
                f'{self.key} needs images padded to multiples of {theirs} and the student pads to '
                f'multiples of {ours}; set pad_size_divisor={theirs} in the data_preprocessor of '
                'model.student'
            )
        mean_s, std_s, swaps_s = normalization(student)
        mean_t, std_t, swaps_t = normalization(self.model.data_preprocessor)
        self._flip = swaps_s != swaps_t
        if self._flip:
            mean_s, std_s = mean_s.flip(0), std_s.flip(0)
        scale, shift = std_s / std_t, (mean_s - mean_t) / std_t
        same = not self._flip and bool((scale == 1).all()) and bool((shift == 0).all())
        self._affine = None if same else torch.stack(torch.broadcast_tensors(scale, shift))

    def renormalize(self, inputs: Tensor, data_samples: Sequence | None) -> Tensor:
        """Give the teacher the student's pixels normalised its own way, and in its size.

        The student's data preprocessor has the last word on what the batch shows (padding, mixing,
        cropping); only mean, std and channel order are exchanged, and padding stays zero. With
        ``input_size`` the whole batch is resized then.

        Args:
            inputs (Tensor): Batch normalised for the student, (N, C, H, W).
            data_samples (sequence, optional): With ``img_shape``, the size before padding.

        Returns:
            Tensor: Batch normalised for the teacher, (N, C, H', W').
        """
        if self._affine is not None:
            scale, shift = self._affine
            inside = _inside_image(inputs, data_samples)
            inputs = (inputs.flip(1) if self._flip else inputs) * scale + shift
            inputs = inputs if inside is None else inputs * inside
        return self._resized(inputs)


def frozen_teachers(model_cfg: dict) -> dict[str, dict]:
    """The configs of a distiller's frozen teachers by name; ``'teacher'`` is an only one.

    Args:
        model_cfg (dict): The distiller's config, or a plain model's, which has none.
    """
    teachers = dict(model_cfg.get('teachers') or {})
    if model_cfg.get('teacher'):
        teachers['teacher'] = model_cfg['teacher']
    return teachers


def teacher_model(config: str | dict, key: str) -> ConfigDict:
    """The model config of a teacher.

    Args:
        config (str | dict): As :class:`Teacher` takes it.
        key (str): The config key, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    cfg = _read_config(config, key)
    model_cfg, scope = plain_model(cfg), cfg.get('default_scope')
    return model_cfg if scope is None else ConfigDict(model_cfg, _scope_=scope)


def _no_weights(key: str, found: str) -> str:
    return (
        f'{key}.checkpoint is missing, and {found}: a teacher without weights teaches noise. Set '
        'it to a checkpoint of the whole model, for instance on the command line: --cfg-options '
        f'{key}.checkpoint=teacher.pth'
    )


def _size(value: Any, key: str) -> tuple[int, int] | None:
    size = (value, value) if isinstance(value, int) else value
    if size is None:
        return None
    if not is_shape(size, 2):
        raise ValueError(f'{key}={value!r}, expected a number of pixels, or height and width')
    return tuple(size)


def _read_config(config: str | dict, key: str) -> Config:
    if isinstance(config, str):
        return read_config(config, f'{key}.config')
    check_config(f'{key}.config', config, "a config file, 'package::name.py' or a model config")
    return Config(dict(model=copy.deepcopy(config)))


def _published(config: str | dict) -> str | None:
    """The address of the weights that a package's metafile lists for its config."""
    if not isinstance(config, str) or '::' not in config:
        return None
    try:
        return get_config(config, pretrained=True).get('model_path')
    except AssertionError:  # listed without weights
        return None


def _how_to_get(config: str | dict, checkpoint: str, key: str) -> str:
    """The command that leaves a missing checkpoint, where the teacher has a config file."""
    other = f'set {key}.checkpoint=FILE'
    folder = os.path.dirname(checkpoint)
    if not isinstance(config, str) or '::' in config or not folder:
        return other
    default = os.path.join('work_dirs', Path(config).stem)
    where = '' if folder == default else f' --work-dir {folder}'
    command = f'python tools/train.py {os.path.relpath(config)}{where}'
    return f'train the teacher first, with `{command}`, or {other}'


def _pretrained(model_cfg: ConfigDict) -> str | None:
    init_cfg = model_cfg.get('init_cfg') or {}
    if isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained':
        return init_cfg.get('checkpoint')
    return None


def normalization(preprocessor: nn.Module) -> tuple[Tensor, Tensor, bool]:
    """Mean and std, (C, 1, 1) each, and whether the channel order of the file is swapped."""
    swaps = getattr(preprocessor, '_channel_conversion', False) or getattr(
        preprocessor, 'to_rgb', False
    )
    if not getattr(preprocessor, '_enable_normalize', False):
        return torch.zeros(1, 1, 1), torch.ones(1, 1, 1), swaps
    return preprocessor.mean.cpu(), preprocessor.std.cpu(), swaps


def _inside_image(inputs: Tensor, data_samples: Sequence | None) -> Tensor | None:
    """1 where the image is and 0 where the batch is padded, (N, 1, H, W); None without padding."""
    height, width = inputs.shape[-2:]
    shapes = [
        sample.metainfo.get('img_shape', (height, width))[:2] for sample in data_samples or ()
    ]
    if all(h >= height and w >= width for h, w in shapes):
        return None
    sizes = torch.tensor(shapes, device=inputs.device)
    rows = torch.arange(height, device=inputs.device) < sizes[:, :1]
    columns = torch.arange(width, device=inputs.device) < sizes[:, 1:]
    return (rows[:, None, :, None] & columns[:, None, None, :]).to(inputs.dtype)

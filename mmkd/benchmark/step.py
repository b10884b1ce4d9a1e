"""One step of a distiller, timed in turns with its networks on their own."""

from __future__ import annotations

import copy
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import timer

from mmkd.distillers import Distiller, Teacher
from mmkd.distillers.base import num_classes
from mmkd.distillers.schedule import FIELDS
from mmkd.distillers.teacher import frozen_teachers, teacher_model
from mmkd.models import MultiExitClassifier, TorchModel
from mmkd.registry import MODELS

#: Name of the distiller's own step among the parts.
STEP = 'step'
#: Turns before those that count, in which optimizers make their buffers.
_WARM_UP = 2

#: What runs one part once.
Part = Callable[[], None]


def build(cfg: Config) -> Distiller:
    """Build the distiller of a config with random weights, on the device.

    Every term is on at its full weight, whenever that is in a training, and phases of pre-training
    count as done. What a factory of a teacher would download is left out.

    Args:
        cfg (Config): The config of a distiller. It stays as it is.
    """
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    for loss in (model.get('losses') or {}).values():
        for field in FIELDS:
            loss.pop(field, None)
    model.get('objective', {}).pop('schedules', None)
    with tempfile.TemporaryDirectory() as folder:
        for name, teacher in frozen_teachers(model).items():
            _leave_untrained(name, teacher, Path(folder, f'{name}.pth'))
        built = MODELS.build(model).to(get_device()).train()
    for loss in getattr(built, 'losses', {}).values():
        if hasattr(loss, 'pretraining'):
            # Over as soon as it begins: the loss would refuse to be used without.
            with loss.pretraining():
                pass
    return built


def _leave_untrained(name: str, teacher: dict, path: Path) -> None:
    """Give a teacher's config random weights, which it takes from a file as it does others."""
    teacher['config'] = teacher_model(teacher['config'], f'model.{name}')
    for key in {'pretrained', 'weights'} & (teacher['config'].get('arguments') or {}).keys():
        teacher['config']['arguments'][key] = None
    network = MODELS.build(teacher['config'])
    network = network.backbone if isinstance(network, TorchModel) else network
    torch.save(network.state_dict(), path)
    teacher['checkpoint'] = str(path)


def batch(model: Distiller, count: int, size: tuple[int, int]) -> dict[str, Any]:
    """Random images and labels as they enter the forward, normalised.

    A detector's images have one to nine boxes each, with masks where it needs them, those of
    mmdet's own tests.

    Args:
        model (Distiller): What takes them.
        count (int): Number of images.
        size (tuple[int]): Their height and width.
    """
    network = next(iter(model.trained_networks().values()))
    classes = min(num_classes(network), default=2)
    if isinstance(network, (ImageClassifier, MultiExitClassifier)):
        labels = torch.randint(classes, (count,)).tolist()
        # The index is that of the data set, by which some losses remember samples.
        samples = [
            DataSample(metainfo=dict(sample_idx=index)).set_gt_label(label)
            for index, label in enumerate(labels)
        ]
        inputs = list(torch.randint(256, (count, 3, *size), dtype=torch.uint8))
        data = dict(inputs=inputs, data_samples=samples)
    else:
        from mmdet.testing import demo_mm_inputs

        preprocessor = model.data_preprocessor
        data = demo_mm_inputs(
            count,
            (3, *size),
            num_classes=classes,
            with_mask=network.with_mask or getattr(preprocessor, 'pad_mask', False),
            with_semantic=getattr(preprocessor, 'pad_seg', False),
        )
    return model.data_preprocessor(data, training=True)


def parts(model: Distiller, optim_wrapper: dict, data: dict[str, Any]) -> dict[str, Part]:
    """The distiller's step, by the name ``'step'``, and what it is compared with.

    That is a step of every network that is trained, with the losses that it has on its own, of one
    with exits those of all its classifiers; and a forward of every frozen teacher, of a classifier
    up to its logits, of a detector up to its neck. What joins networks, terms and layers of losses,
    and a teacher's head that runs on a student's boxes, are in the distiller's step alone.

    A step is a forward, a backward and an update by an optimizer of its own, whose rate is 0, so
    that all steps do the same work.

    Args:
        model (Distiller): The distiller.
        optim_wrapper (dict): Config of its optimizer.
        data (dict): From :func:`batch`.

    Raises:
        ValueError: If a network has no losses of its own.
    """
    cfg = copy.deepcopy(optim_wrapper)
    cfg['optimizer']['lr'] = 0.0
    cfg['accumulative_counts'] = 1
    whole = build_optim_wrapper(model, cfg)
    found = {STEP: partial(_step, model, whole, partial(model, **data, mode='loss'))}
    for name, network in model.trained_networks().items():
        if not getattr(network, 'with_head', True):
            raise ValueError(
                f'the {name} is a {type(network).__name__} without a head, so there is no step of '
                'its own to compare with; give the config of a distiller whose student has losses'
            )
        losses = partial(own_losses, network, **data)
        found[name] = partial(_step, network, build_optim_wrapper(network, cfg), losses)
    for name, teacher in getattr(model, 'teachers', {}).items():
        forward = partial(_forward, teacher, whole.optim_context, **data)
        found[f'teacher {name}'.strip()] = forward
    return found


def _step(network: nn.Module, optim_wrapper: OptimWrapper, losses: Callable[[], dict]) -> None:
    with optim_wrapper.optim_context(network):
        entries = losses()
    optim_wrapper.update_params(network.parse_losses(entries)[0])


def own_losses(network: nn.Module, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
    """The losses of a network on its own, of one with exits those of all its classifiers.

    Args:
        network (nn.Module): A plain model, or a classifier with exits.
        inputs (Tensor): Normalised batch, (N, C, H, W).
        data_samples (list): The batch's data samples.
    """
    if not isinstance(network, MultiExitClassifier):
        return network(inputs, data_samples, mode='loss')
    logits = network.outputs(inputs).logits
    return {
        f'loss_{name}': network.classification_loss(z, data_samples)
        for name, z in zip(network.names, logits, strict=True)
    }


@torch.no_grad()
def _forward(teacher: Teacher, context: Callable, inputs: Tensor, data_samples: list) -> None:
    with context(teacher.model), teacher.precision(inputs.device):
        images = teacher.renormalize(inputs, data_samples)
        if isinstance(teacher.model, ImageClassifier):
            teacher.model(images, mode='tensor')
        else:
            teacher.model.extract_feat(images)


def _clock() -> Callable[[], float]:
    """What tells the seconds.

    A single thread on a CPU takes as much of the processor's time as it would take of the wall's,
    were nothing else running.
    """
    alone = get_device() == 'cpu' and torch.get_num_threads() == 1
    return time.process_time if alone else timer


def measure(run: Mapping[str, Part], rounds: int) -> dict[str, dict[str, list[float] | float]]:
    """Time parts in turns: A, B, A, B, ...

    Args:
        run (mapping): From :func:`parts`.
        rounds (int): Turns of all parts.

    Returns:
        dict: ``seconds``, a list of one a round for each part, of the processor on one thread of a
        CPU and else of the wall, and ``memory``, MiB (:func:`peak_memory`) of each part.
    """
    clock = _clock()
    seconds: dict[str, list[float]] = {name: [] for name in run}
    for index in range(_WARM_UP + rounds):
        for name, part in run.items():
            start = clock()
            part()
            took = clock() - start
            if index >= _WARM_UP:
                seconds[name].append(round(took, 6))
    memory = {name: round(peak_memory(part), 1) for name, part in run.items()}
    return dict(seconds=seconds, memory=memory)


def peak_memory(part: Part) -> float:
    """The most memory of tensors, in MiB, that a part holds beyond what was there before it.

    Activations, gradients and temporaries: weights and the optimizer's buffers were there. On a GPU
    it is what torch's allocator counts; on a CPU the sum over what torch's profiler saw being
    allocated and freed, so that neither the process nor libraries' own workspaces are in it.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        part()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # Without `acc_events` torch warns that it keeps one cycle, and there is one.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as run:
        part()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'trace.json')
        run.export_chrome_trace(str(path))
        events = json.loads(path.read_text())['traceEvents']
    events = [event for event in events if event['name'] == '[memory]']
    changes = (event['args']['Bytes'] for event in sorted(events, key=lambda e: e['ts']))
    return max(itertools.accumulate(changes), default=0) / 2**20

"""Trained networks beside each other, and what they say of the test data."""

from __future__ import annotations

import copy
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.structures.mask import encode_mask_results
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from mmkd.distillers.teacher import Teacher, frozen_teachers
from mmkd.engine.config import read_config
from mmkd.publish import (
    distiller,
    is_training,
    load_plain,
    num_students,
    plain_model,
    read_checkpoint,
    student_state_dict,
)
from mmkd.registry import MODELS
from mmkd.taps import Taps

#: Colours of a teacher, a network that is compared with, and the one that the pictures are about.
COLORS = dict(teacher='#8c8c8c', other='#c4631a', main='#1b6ca8')
_FURTHER = ('#3a8f5c', '#a03b6f', '#8a7a1f', '#5b4fa3')


@dataclass(eq=False)
class Network:
    """A trained network with a name for pictures.

    Args:
        name (str): What it is called.
        model (nn.Module): A plain model, in ``eval()``.
        role (str): ``'teacher'``, ``'other'`` or ``'main'``.
        color (str): What it is drawn in.
        prepare (Callable, optional): Gives a batch of a data loader as the model takes it. Defaults
            to None, by its data preprocessor.
    """

    name: str
    model: nn.Module
    role: str
    color: str
    prepare: Callable[[dict], dict] | None = None

    def __post_init__(self) -> None:
        self.model.to(get_device()).eval()

    @property
    def is_classifier(self) -> bool:
        """Whether it is a classifier, not a detector."""
        return isinstance(self.model, ImageClassifier)

    def data(self, batch: dict) -> dict:
        """``inputs`` (N, C, H, W) and ``data_samples`` of a batch, which is left as it is."""
        prepare = self.prepare or (lambda batch: self.model.data_preprocessor(batch, False))
        return prepare(copy.deepcopy(batch))

    def layers(self) -> list[str]:
        """The blocks of the backbone in their order.

        A block is a module with parts of its own in a ``Sequential`` or ``ModuleList``, and none
        within another block.
        """
        containers = (nn.Sequential, nn.ModuleList)
        found: list[str] = []
        for name, module in self.model.backbone.named_modules(prefix='backbone'):
            parent = self.model.get_submodule(name.rpartition('.')[0])
            within = found and name.startswith(f'{found[-1]}.')
            has_parts = next(module.children(), None) is not None
            is_block = has_parts and not isinstance(module, containers)
            if is_block and isinstance(parent, containers) and not within:
                found.append(name)
        if not found:
            found = [
                f'backbone.{name}'
                for name, child in self.model.backbone.named_children()
                if next(child.children(), None) is not None
            ]
        return found or ['backbone']

    @torch.no_grad()
    def features(self, batch: dict, taps: Sequence[str]) -> dict[str, Any]:
        """What taps (:class:`~mmkd.taps.Tap`) give in a forward of the backbone and the neck."""
        with Taps(self.model, taps) as record:
            self.model.extract_feat(self.data(batch)['inputs'])
        return {tap: record[tap] for tap in taps}

    @torch.no_grad()
    def classify(self, batch: dict) -> tuple[Tensor | None, Tensor]:
        """Logits (N, K), None without a head, and what the last layer sees of images, (N, C)."""
        feats = self.model.extract_feat(self.data(batch)['inputs'])
        if not self.model.with_head:
            vectors = feats[-1] if isinstance(feats, (tuple, list)) else feats
            return None, vectors.flatten(2).mean(-1) if vectors.ndim > 2 else vectors
        return self.model.head(feats), self.model.head.pre_logits(feats).flatten(1)

    @torch.no_grad()
    def predict(self, batch: dict) -> list:
        """Data samples with predictions, on the CPU."""
        return [sample.cpu() for sample in self.model(**self.data(batch), mode='predict')]


@dataclass
class Outputs:
    """What a classifier says of N images.

    Args:
        logits (Tensor, optional): (N, K).
        vectors (Tensor): What its last layer sees, (N, C).
    """

    logits: Tensor | None
    vectors: Tensor

    @property
    def probabilities(self) -> Tensor:
        """(N, K)."""
        return self.logits.float().softmax(dim=1)


class Study:
    """Networks, and the test data that they are compared on.

    Args:
        cfg (Config): Its ``test_dataloader`` and ``test_evaluator`` are used.
        networks (sequence of Network): Teachers first, the one that pictures are about last.

    Raises:
        ValueError: If there are classifiers and detectors, or no test data.
    """

    def __init__(self, cfg: Config, networks: Sequence[Network]) -> None:
        self.cfg = cfg
        self.networks = list(networks)
        kinds = {network.is_classifier for network in self.networks}
        if len(kinds) > 1:
            raise ValueError(
                f'found classifiers and detectors among {[n.name for n in self.networks]}; give '
                'networks of one kind'
            )
        if cfg.get('test_dataloader') is None:
            raise ValueError('CONFIG: test_dataloader is missing; give the data to compare on')
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            self.loader = Runner.build_dataloader(copy.deepcopy(cfg.test_dataloader), seed=0)
        self.classes = list(self.loader.dataset.metainfo.get('classes') or ())

    @property
    def is_classification(self) -> bool:
        """Whether the networks are classifiers."""
        return self.networks[0].is_classifier

    @property
    def main(self) -> Network:
        """What pictures are about."""
        return self.networks[-1]

    @property
    def before(self) -> Network | None:
        """What the main network is compared with: another student, else a teacher, if any."""
        rest = self.networks[:-1]
        return next((n for n in reversed(rest) if n.role != 'teacher'), rest[-1] if rest else None)

    def class_name(self, index: int) -> str:
        """Name of a class, or its number."""
        return self.classes[index] if index < len(self.classes) else str(index)

    def batch(self, indices: Sequence[int]) -> dict:
        """A batch of some images of the test data."""
        return pseudo_collate([self.loader.dataset[int(index)] for index in indices])

    @cached_property
    def _run(self) -> tuple[dict[str, Outputs], Tensor]:
        logits: dict[str, list] = {network.name: [] for network in self.networks}
        vectors: dict[str, list] = {network.name: [] for network in self.networks}
        labels = []
        for batch in self.loader:
            for network in self.networks:
                scores, vector = network.classify(batch)
                vectors[network.name].append(vector.float().cpu())
                if scores is not None:
                    logits[network.name].append(scores.float().cpu())
            samples = self.main.data(batch)['data_samples']
            labels += [sample.gt_label.cpu() for sample in samples]
        outputs = {
            name: Outputs(torch.cat(found) if found else None, torch.cat(vectors[name]))
            for name, found in logits.items()
        }
        return outputs, torch.cat(labels)

    @property
    def outputs(self) -> dict[str, Outputs]:
        """What every classifier says of the test images, by its name."""
        return self._run[0]

    @property
    def labels(self) -> Tensor:
        """Classes of the test images, (N, )."""
        return self._run[1]

    @property
    def scored(self) -> list[Network]:
        """The classifiers whose logits are of the main one's classes; none if it has no head."""
        if self.outputs[self.main.name].logits is None:
            return []
        count = self.outputs[self.main.name].logits.shape[1]
        found = {n.name: self.outputs[n.name].logits for n in self.networks}
        return [
            n
            for n in self.networks
            if found[n.name] is not None and found[n.name].shape[1] == count
        ]

    def right(self, network: Network) -> np.ndarray:
        """Whether a classifier is right, a bool an image."""
        return (self.outputs[network.name].logits.argmax(dim=1) == self.labels).numpy()

    @cached_property
    def detections(self) -> dict[str, list]:
        """What every detector predicts for the test images, data samples by its name."""
        found: dict[str, list] = {network.name: [] for network in self.networks}
        with DefaultScope.overwrite_default_scope(self.cfg.get('default_scope')):
            for batch in self.loader:
                for network in self.networks:
                    found[network.name] += map(_encoded, network.predict(batch))
        return found

    @cached_property
    def metrics(self) -> dict[str, dict[str, float]]:
        """What the config's ``test_evaluator`` says of every detector, by its name."""
        found = {}
        with DefaultScope.overwrite_default_scope(self.cfg.get('default_scope')):
            for name, samples in self.detections.items():
                evaluator = Evaluator(_by_class(self.cfg.test_evaluator))
                evaluator.dataset_meta = self.loader.dataset.metainfo
                evaluator.process(data_samples=samples)
                with _silence():
                    found[name] = evaluator.evaluate(len(self.loader.dataset))
        return found


def _encoded(sample: Any) -> Any:
    """A data sample whose masks, if there are any, are run lengths, as CocoMetric encodes them."""
    instances = sample.pred_instances
    if 'masks' in instances:
        instances.masks = encode_mask_results(instances.masks.numpy())
    return sample


@contextmanager
def _silence() -> Iterator[None]:
    """Let a metric return what it would print and log too."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _by_class(evaluator: Any) -> list[dict]:
    """The metrics of a ``test_evaluator``; COCO's says AP of each class too."""
    metrics = copy.deepcopy(evaluator)
    metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
    for metric in metrics:
        if str(metric['type']).endswith('CocoMetric'):
            metric['classwise'] = True
    return metrics


def read_study(
    config: str,
    checkpoints: Sequence[str],
    others: Sequence[tuple[str, str, str]] = (),
    options: dict[str, Any] | None = None,
) -> Study:
    """Read what is compared: frozen teachers of a config, other networks, and what it trained.

    Args:
        config (str): Config of a distiller or of a plain model, which names the test data.
        checkpoints (sequence of str): Of this config, of training or published.
        others (sequence of tuple): Name, config and checkpoint of each other network.
        options (dict, optional): Overrides of the first config.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If weights do not fit, or two networks have the same name.
    """
    cfg = read_config(config, 'CONFIG')
    cfg.merge_from_dict(options or {})
    colors = iter(_FURTHER)

    def color(role: str, count: int) -> str:
        return next(colors, '#000000') if count else COLORS[role]

    main = [
        item
        for path, label in zip(checkpoints, _labels(checkpoints), strict=True)
        for item in _trained(cfg, config, path, label)
    ]
    networks = [
        Network(name, teacher.model, 'teacher', color('teacher', i), teacher.prepare)
        for i, (name, teacher) in enumerate(_teachers(cfg, main[0][1]))
    ]
    for index, (name, path, checkpoint) in enumerate(others):
        ((_, model), *_) = _trained(read_config(path, f'--with {name}'), path, checkpoint)
        networks.append(Network(name, model, 'other', color('other', index)))
    *earlier, (name, model) = main
    networks += [Network(n, m, 'other', next(colors, '#000000')) for n, m in earlier]
    networks.append(Network(name, model, 'main', COLORS['main']))
    names = [network.name for network in networks]
    if len({*names}) < len(names):
        raise ValueError(f'two of the networks {names} have one name; give --with another NAME')
    return Study(cfg, networks)


def _labels(checkpoints: Sequence[str]) -> list[str]:
    """What tells checkpoints of one config apart: nothing, the file, or the folder too."""
    files = [Path(checkpoint) for checkpoint in checkpoints]
    if len(files) == 1:
        return ['']
    if len({file.stem for file in files}) == len(files):
        return [file.stem for file in files]
    return [f'{file.parent.name}/{file.stem}' for file in files]


def _trained(
    cfg: Config, config: str, checkpoint: str, label: str = ''
) -> Iterator[tuple[str, nn.Module]]:
    """What a checkpoint holds: a student, or each of several peers, by name."""
    what = f'CHECKPOINT {checkpoint}'
    state_dict, _ = read_checkpoint(checkpoint, what)
    is_whole = is_training(cfg, state_dict)
    count = num_students(cfg) if is_whole else 1
    cls = distiller(cfg)
    for index in range(count):
        if count > 1:
            name = cls.output_names(cfg.model)[index]
        else:
            name = Path(config).stem if cls is None else 'distilled'
        name = f'{name} {label}'.strip()
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            model = MODELS.build(plain_model(cfg, index))
        weights = student_state_dict(cfg, state_dict, index) if is_whole else state_dict
        load_plain(model, weights, what)
        yield name, model


def _teachers(cfg: Config, student: nn.Module) -> Iterator[tuple[str, Teacher]]:
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for name, teacher in frozen_teachers(cfg.model).items():
            key = 'model.teacher' if name == 'teacher' else f'model.teachers.{name}'
            yield name, Teacher(student.data_preprocessor, **teacher, key=key)

"""Networks that are trained together and teach each other."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.model import ModuleList
from torch import Tensor, nn

from mmkd.build import build
from mmkd.models.image_shape import dry, first_fit
from mmkd.models.multi_exit import MAIN, MultiExitClassifier, predictions
from mmkd.modes import evaluating
from mmkd.registry import MODELS

from .base import Distiller, check_num_classes

_EXAMPLE = "objective=dict(type='mmkd.DCMLoss')"


@MODELS.register_module()
class MutualDistiller(Distiller):
    r"""Train peers of any architecture from scratch, all in one step on the same batch.

    Every network and its auxiliary classifiers, its exits, run on the batch; ``objective`` makes
    the losses of all networks out of their logits. The first network is the student: it predicts.
    Every network is published as a plain model without exits.

    One optimiser steps them all. MMEngine's ``paramwise_cfg`` gives a network settings of its own.

    Args:
        networks (sequence of dict): Two or more, each the arguments of a
            :class:`~mmkd.models.MultiExitClassifier`: ``model``, the config of an mmpretrain
            classifier, and, optionally, ``exits`` and ``input_shape``.
        objective (dict): Config of a loss such as :class:`~mmkd.losses.DCMLoss`: a module whose
            ``build`` checks and whose ``forward`` compares the logits of all classifiers.
        data_preprocessor (dict, optional): Config that MMEngine's runner passes on from the top
            level of a config file; used by networks that have none of their own.

    Raises:
        ValueError: If there are fewer than two networks, their data preprocessors differ, an exit
            does not fit, no size of images suits all, or the objective cannot compare the networks.
        TypeError: If the objective does not know an argument, or does not compare networks.
        RuntimeError: If a network does not reach a tap.

    Example:
        >>> model = dict(
        ...     type='mmkd.MutualDistiller',
        ...     networks=[
        ...         dict(
        ...             model=dict(type='ImageClassifier', ...),
        ...             exits=[dict(tap='backbone.layer2', type='mmkd.ResNetExit', ...)]),
        ...         dict(model=..., exits=...)],
        ...     objective=dict(type='mmkd.DCMLoss'))
        >>> optim_wrapper = dict(
        ...     optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4),
        ...     paramwise_cfg=dict(
        ...         custom_keys={'networks.1.': dict(lr_mult=0.5, decay_mult=0.2)}))
    """

    def __init__(
        self,
        networks: Sequence[dict],
        objective: dict,
        data_preprocessor: dict | None = None,
    ) -> None:
        if len(networks) < 2:
            raise ValueError(
                f'model.networks has {len(networks)} network(s), expected two or more; one network '
                'with exits is trained by mmkd.MultiExitDistiller'
            )
        networks = [copy.deepcopy(dict(network)) for network in networks]
        for index, network in enumerate(networks):
            if not isinstance(network.get('model'), dict):
                raise ValueError(
                    f'model.networks[{index}].model={network.get("model")!r}, found beside it '
                    f'{sorted(network.keys() - {"model"})}; give the config of an mmpretrain '
                    'classifier, a dict, and exits beside it'
                )
            own = network.pop('data_preprocessor', data_preprocessor)
            network['model'].setdefault('data_preprocessor', own)
            ours, first = (n['model']['data_preprocessor'] for n in (network, networks[0]))
            if ours != first:
                raise ValueError(
                    f'model.networks[{index}].model.data_preprocessor={ours} is not that of '
                    f'model.networks[0], {first}; all see the same batch: give one '
                    'data_preprocessor at the top level of the config'
                )
        for index, network in enumerate(networks):
            with _named(index):
                networks[index] = MultiExitClassifier(**network)
        super().__init__(data_preprocessor=networks[0].data_preprocessor)
        self.networks = ModuleList(networks)
        self.objective = build('model.objective', objective, nn.Module, _EXAMPLE)
        self._build_objective()

    @classmethod
    def whole_students(cls, model: dict) -> list[tuple[str, dict]]:
        # Peers are written without their type.
        return [
            (f'networks.{index}.', dict(type='mmkd.MultiExitClassifier', **network))
            for index, network in enumerate(model['networks'])
        ]

    @classmethod
    def output_names(cls, model: dict) -> list[str]:
        return [f'net{index}' for index, _ in enumerate(model['networks'], 1)]

    @classmethod
    def evaluated(cls, model: dict) -> dict:
        return model

    def _build_objective(self) -> None:
        """Let the objective see the shapes it will get, in a forward of a dummy batch."""
        # Each network runs on images of its own size; all see the same ones.
        shapes = list(dict.fromkeys(network.input_shape for network in self.networks))
        logits = first_fit(shapes, self._dry_logits)
        try:
            self.objective.build(logits)
        except (TypeError, ValueError) as error:
            raise type(error)(f'model.objective: {error}') from error

    @torch.no_grad()
    def _dry_logits(self, shape: tuple[int, int, int]) -> list[list[Tensor]]:
        images, logits = torch.zeros(2, *shape), []
        fix = 'all networks see the same images: make their backbones for one img_size'
        for index, network in enumerate(self.networks):
            with evaluating(network), _named(index), dry('the network', images, fix):
                logits.append(network.outputs(images).logits)
        return logits

    def check_data(self, classes: Sequence[str] | None, length: int, labelled: str = 'all') -> None:
        self._check_labels(labelled)
        for index, network in enumerate(self.networks):
            check_num_classes(f'model.networks[{index}].model', network, classes)

    @property
    def student(self) -> nn.Module:
        """The first network, without exits."""
        return self.networks[0].model

    def trained_networks(self) -> dict[str, nn.Module]:
        return {f'net{index}': network for index, network in enumerate(self.networks, 1)}

    def _warm_started(self) -> nn.Module:
        # The first only: peers that start alike have little to teach each other.
        return self.networks[0]

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Return the terms of every network's loss."""
        return self.objective(
            [network.outputs(inputs).logits for network in self.networks],
            [
                partial(network.classification_loss, data_samples=data_samples)
                for network in self.networks
            ],
        )

    def scores(self, inputs: Tensor) -> dict[str, Tensor]:
        """Logits by name: ``net1_exit1``, ..., ``net1``, ``net2_exit1``, ..., and ``ensemble``.

        The ensemble is the sum over the networks' own classifiers.
        """
        scores, own = {}, []
        for index, network in enumerate(self.networks, 1):
            logits = network.outputs(inputs).logits
            for name, z in zip(network.names, logits, strict=True):
                scores[f'net{index}' if name == MAIN else f'net{index}_{name}'] = z
            own.append(logits[-1])
        scores['ensemble'] = torch.stack(own).sum(dim=0)
        return scores

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> Any:
        """Train all networks, or predict with the first.

        Args:
            inputs (Tensor): Normalised batch, (N, C, H, W).
            data_samples (list, optional): The batch's data samples.
            mode (str): ``'loss'``, ``'predict'`` or ``'tensor'``.

        Returns:
            dict[str, Tensor] for ``'loss'``; data samples for ``'predict'``, with ``outputs``, a
            dict of logits (num_classes,) by the names of :meth:`scores`; else what the first
            network returns.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return predictions(self.student.head, self.scores(inputs), 'net1', data_samples)
        return self.student(inputs, data_samples, mode=mode)


@contextmanager
def _named(index: int) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, TypeError, ValueError) as error:
        raise type(error)(f'model.networks[{index}]: {error}') from error

"""A teacher generated from the student, fed with its features and trained beside it."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from mmkd.models.image_shape import dry, first_fit
from mmkd.models.multi_exit import predictions
from mmkd.registry import MODELS
from mmkd.taps import Additions, Taps

from .connections import Connections
from .term_distiller import TermDistiller
from .terms import Term, detach, shapes
from .views import paths_of, read

#: Names of the two trained networks in taps.
STUDENT, TEACHER = 'student', 'teacher'


def find_modules(model: nn.Module, patterns: str | Sequence[str], key: str) -> list[str]:
    """Paths of the submodules that match one of several patterns.

    A pattern is a module path in which ``*``, ``?`` and ``[12]`` stand for parts of one name, never
    for a dot: ``'backbone.layer[12].*.conv?'``.

    Args:
        model (nn.Module): The model.
        patterns (str | sequence of str): The patterns.
        key (str): The config key, for messages.

    Raises:
        ValueError: If there is no pattern or one matches nothing.
    """
    names = [name for name, _ in model.named_modules() if name]
    found = []
    for pattern in paths_of(patterns):
        parts = pattern.split('.')
        matches = [
            name
            for name in names
            if name.count('.') == len(parts) - 1 and all(map(fnmatchcase, name.split('.'), parts))
        ]
        if not matches:
            near = difflib.get_close_matches(pattern, names, n=5, cutoff=0.5)
            raise ValueError(
                f'{key}: {pattern!r} matches no module of {type(model).__name__}; nearest names: '
                f'{", ".join(near) or "none"}'
            )
        found += matches
    if not found:
        raise ValueError(f"{key} is empty; give module paths such as 'backbone.layer?.*.conv?'")
    return list(dict.fromkeys(found))


def generate_teacher(student: nn.Module, convs: str | Sequence[str], **layer: Any) -> nn.Module:
    """Copy the student and put stronger layers in the place of 3x3 convolutions.

    Args:
        student (nn.Module): The student.
        convs (str | sequence of str): Which convolutions, see :func:`find_modules`.
        layer: Config of the layer that takes the place of a convolution; it gets the copy's own as
            ``conv`` and gives maps of the same shape.

    Raises:
        ValueError: If a name is unknown or no 3x3 convolution, or the layer refuses it.
        TypeError: If the layer does not take an argument.
    """
    teacher = copy.deepcopy(student)
    for name in find_modules(teacher, convs, 'teacher_generator.convs'):
        conv = teacher.get_submodule(name)
        is_conv = isinstance(conv, nn.Conv2d)
        if not is_conv or conv.kernel_size != (3, 3):
            raise ValueError(
                f'teacher_generator.convs: {name!r} is {conv if is_conv else type(conv).__name__}; '
                'expected a 3x3 Conv2d; name others'
            )
        try:
            stronger = MODELS.build({'_scope_': 'mmkd', **layer, 'conv': conv})
        except ValueError as error:
            raise ValueError(f'teacher_generator at {name!r}: {error}') from error
        parent, _, child = name.rpartition('.')
        setattr(teacher.get_submodule(parent), child, stronger)
    return teacher


@MODELS.register_module()
class ConnectionDistiller(TermDistiller):
    r"""Train a student together with a teacher generated from it and fed with its features.

    .. math:: L = L_\text{student} + L_\text{teacher}, \qquad
              \phi_T^l \leftarrow \phi_T^l + \sum_{k \in Q_l} c_{kl}(\phi_S^k)

    *Explicit Connection Distillation*, sections 3.2 to 3.4 and A.1. The teacher is the student with
    stronger layers in place of 3x3 convolutions, so both have maps of the same shapes everywhere.
    The student's forward knows nothing of the teacher; the gradient of the teacher's loss reaches
    the student through the connections. After training the student stands alone.

    The student's ``loss`` is logged as ``loss_student``, the teacher's as ``loss_teacher``; other
    entries of the teacher get the prefix ``teacher_``. The student predicts; the metric
    :class:`~mmkd.evaluation.OutputAccuracy` reports the teacher beside it, as Table 16 does.

    Terms may be added as in :class:`OfflineDistiller`. In a tap, ``'student:'`` and ``'teacher:'``
    name the two trained networks, and any other name one of the frozen ``teachers``; without a name
    the ``student`` side of a term is the student and its ``teacher`` side the generated teacher.
    Gradient flows into the ``student`` side of a term, whichever trained network that is, and never
    into its ``teacher`` side. A tap in the generated teacher reads what its next layer sees, with
    the connections added.

    Args:
        student (dict): Model config of the student, any mmpretrain classifier.
        teacher_generator (dict): ``convs``, patterns of the 3x3 convolutions to replace
            (:func:`find_modules`), and the config of the layer that replaces each:
            ``DynamicAdditiveConv2d``, ``SEConv2d``, ``CBAMConv2d`` or any that is built with
            ``conv``.
        connections (dict, optional): ``points``, patterns of the modules whose outputs are
            connected, and ``transform`` and ``dense`` of :class:`Connections`. None by default:
            both networks are trained side by side.
        losses (dict[str, dict], optional): Further terms.
        teachers (dict[str, dict], optional): Frozen teachers by name (:class:`Teacher`).
        input_shape (tuple[int], optional): Shape (C, H, W) of the dummy image of the dry forward
            that checks taps, points and shapes at construction. Defaults to what the networks were
            made for (:func:`~mmkd.models.image_shape.image_shapes`).
        data_preprocessor (dict, optional): See :class:`BaseDistiller`.

    Raises:
        ValueError: If a convolution or a point does not exist or is not of the right kind, or a
            term is wrong.
        TypeError: If the student is no classifier or an argument is unknown.

    Example:
        >>> model = dict(
        ...     type='mmkd.ConnectionDistiller',
        ...     student=dict(type='ImageClassifier', ...),
        ...     teacher_generator=dict(
        ...         type='DynamicAdditiveConv2d', convs='backbone.layer?.*.conv?', num_kernels=16),
        ...     connections=dict(
        ...         points=['backbone.layer[12].*.conv?', 'backbone.layer[12].*'],
        ...         transform=dict(type='ConvModule', kernel_size=1, act_cfg=None)))
    """

    def __init__(
        self,
        student: dict,
        teacher_generator: dict,
        connections: dict | None = None,
        losses: dict[str, dict] | None = None,
        teachers: dict[str, dict] | None = None,
        input_shape: tuple[int, int, int] | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(student, losses or {}, teachers or {}, data_preprocessor)
        if not isinstance(self.student, ImageClassifier):
            raise TypeError(
                f'model.student is a {type(self.student).__name__}; ConnectionDistiller takes an '
                'ImageClassifier of mmpretrain'
            )
        if any(getattr(module, 'with_cp', False) for module in self.student.modules()):
            raise ValueError(
                'model.student: with_cp=True runs parts of the forward again, without the '
                'connections; set with_cp=False'
            )
        self._check_names()
        self.teacher = _call('teacher_generator', generate_teacher, self.student, teacher_generator)
        self.points: list[str] = []
        self.connections = Connections({})
        if connections is not None:
            shapes = self._input_shapes(input_shape)
            _call('connections', self._connect, shapes, connections)
        self.eval()
        self._build_losses(input_shape)
        self.train()

    @classmethod
    def evaluated(cls, model: dict) -> dict:
        return {key: value for key, value in model.items() if key not in ('losses', 'teachers')}

    def trained_networks(self) -> dict[str, nn.Module]:
        return {STUDENT: self.student, TEACHER: self.teacher}

    def _check_names(self) -> None:
        for name in (STUDENT, TEACHER):
            if name in self.teachers:
                raise ValueError(
                    f'model.teachers.{name}: {name!r} names a trained network in taps; rename it'
                )
        for term in self.terms:
            for path in paths_of(term.student):
                if self._network(path, STUDENT)[0] in self.teachers:
                    raise ValueError(
                        f'losses.{term.name}.student={path!r} lies in a frozen teacher; tap the '
                        "student, or the generated teacher as 'teacher:path'"
                    )

    def _network(self, path: str, default: str) -> tuple[str, str]:
        """Split a tap into the network's name and the path in it."""
        name, _, rest = path.partition(':')
        known = [STUDENT, TEACHER, *self.teachers]
        if name in known:
            return name, rest
        if rest and not rest.startswith('input'):
            raise ValueError(f"tap {path!r} names no network; write one of {known} before ':'")
        return default, path

    def _locate(self, path: str) -> tuple[str, str]:
        return self._network(path, TEACHER)

    def _learner(self, path: str) -> tuple[nn.Module, str]:
        name, rest = self._network(path, STUDENT)
        return (self.teacher if name == TEACHER else self.student), rest

    def _source(self, path: str) -> tuple[nn.Module, str]:
        name, rest = self._locate(path)
        if name in self.teachers:
            return self.teachers[name].model, rest
        return self.trained_networks()[name], rest

    def _paths(self, terms: list[Term], network: str) -> list[str]:
        """What the terms tap in one of the two trained networks."""
        located = [self._network(p, STUDENT) for term in terms for p in paths_of(term.student)]
        located += [self._network(p, TEACHER) for term in terms for p in paths_of(term.teacher)]
        return [path for name, path in located if name == network]

    def _student_paths(self, terms: list[Term]) -> list[str]:
        return self._paths(terms, STUDENT) + self.points

    @torch.no_grad()
    def _connect(
        self,
        input_shapes: list[tuple[int, int, int]],
        points: str | Sequence[str],
        transform: dict | None = None,
        dense: bool = False,
    ) -> None:
        self.points = find_modules(self.student, points, 'connections.points')
        dry_student = super()._dry_student
        student = first_fit(input_shapes, lambda shape: dry_student(torch.zeros(2, *shape), None))
        try:
            maps = {point: student[point] for point in self.points}
        except RuntimeError as error:
            raise ValueError(f'connections.points: {error}') from error
        for point, value in maps.items():
            if not isinstance(value, Tensor) or value.ndim != 4:
                raise ValueError(
                    f'connections.points: {point!r} gives {shapes(value)}; expected a map '
                    '(N, C, H, W)'
                )
        in_order = sorted(maps, key=student.reached.index)
        self.connections = Connections({p: maps[p] for p in in_order}, transform, dense)

    @contextmanager
    def _connected(self, terms: list[Term], student: Taps) -> Iterator[Taps]:
        """Add the student's features in the teacher's forward; gives the teacher's record."""
        summands = self.connections.summands(student)
        # In this order a tap reads the sum.
        with (
            Additions(self.teacher, summands),
            Taps(self.teacher, self._paths(terms, TEACHER), self._calls.get(TEACHER)) as teacher,
        ):
            yield teacher

    def _teacher_records(
        self, terms: list[Term], inputs: Tensor, data_samples: list | None, student: Taps
    ) -> dict[str, Taps]:
        records = super()._teacher_records(terms, inputs, data_samples, student)
        fix = 'correct connections or teacher_generator'
        with (
            dry('the generated teacher', inputs, fix),
            self._connected(terms, student) as records[TEACHER],
        ):
            self.teacher(inputs, mode='tensor')
        return records

    def _sides(self, term: Term, student: Taps, teachers: dict[str, Taps]) -> tuple[Any, Any]:
        records = {STUDENT: student, **teachers}

        def get(default: str, path: str) -> Any:
            name, rest = self._network(path, default)
            return records[name][rest]

        learner = read(partial(get, STUDENT), term.student)
        return learner, detach(read(partial(get, TEACHER), term.teacher))

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Return the losses of both trained networks and one entry ``loss_<name>`` a term.

        Raises:
            ValueError: If a term's name collides with another entry.
            RuntimeError: If a point or a tap was not reached or overwritten in place.
        """
        active = self._active_terms()
        with self._tap_student(active) as student:
            ours = self.student(inputs, data_samples, mode='loss')
        with self._connected(active, student) as teacher:
            theirs = self.teacher(inputs, data_samples, mode='loss')
        # MMEngine logs the total as `loss`, the name mmpretrain gives its only loss.
        losses = {'loss_student' if key == 'loss' else key: value for key, value in ours.items()}
        for key, value in theirs.items():
            losses['loss_teacher' if key == 'loss' else f'teacher_{key}'] = value
        teachers = super()._teacher_records(active, inputs, data_samples, student)
        return self._with_terms(losses, student, {**teachers, TEACHER: teacher}, data_samples)

    def scores(self, inputs: Tensor) -> dict[str, Tensor]:
        """Logits by name: ``student``, and ``teacher`` with the connections."""
        with Taps(self.student, self.points) as student:
            ours = self.student(inputs, mode='tensor')
        with self._connected([], student):
            theirs = self.teacher(inputs, mode='tensor')
        return {STUDENT: ours, TEACHER: theirs}

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> Any:
        """As :meth:`BaseDistiller.forward`, with both networks' logits beside the prediction.

        The data samples of ``'predict'`` have ``outputs``, a dict of logits (num_classes,) by the
        names of :meth:`scores`.
        """
        if mode == 'predict':
            return predictions(self.student.head, self.scores(inputs), STUDENT, data_samples)
        return super().forward(inputs, data_samples, mode)


def _call(key: str, function: Callable, first: Any, cfg: dict) -> Any:
    """Call a function with a config; an argument that it does not take is an error naming both."""
    try:
        return function(first, **cfg)
    except TypeError as error:
        raise TypeError(f'model.{key}: {error}') from error

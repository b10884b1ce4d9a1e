"""What distillers of one student by terms share: terms, records and the dry forward."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.build import is_shape
from mmkd.losses.base import upcast
from mmkd.models.image_shape import dry, first_fit, image_shapes
from mmkd.modes import evaluating
from mmkd.taps import Taps, parse, tensors, until_reached

from .base import BaseDistiller
from .teacher import Teacher
from .terms import (
    Term,
    build_terms,
    check_softmax,
    detach,
    note_pretraining,
    shapes,
    why_no_gradient,
)
from .views import paths_of, read

#: Name of a single, unnamed teacher.
ONLY = ''


def only_features(paths: list[str]) -> bool:
    """Whether all taps lie before the head."""
    return all(path.startswith(('backbone', 'neck')) for path in paths)


def run_features(model: nn.Module, paths: list[str], inputs: Tensor) -> Any:
    """Run backbone and neck as far as ``paths`` need; the features, for heads to go on from."""
    if all(path.startswith('backbone') for path in paths):
        return model.backbone(inputs)
    return model.extract_feat(inputs)


class TermDistiller(BaseDistiller):
    """Base of the distillers that add terms to the losses of one student.

    The frozen teachers are not in the module tree: they are in no state dict and no optimizer, and
    stay in ``eval()``. They run under ``no_grad``, and only as far as the taps need.

    A subclass says in :meth:`_locate` how a tap names its network, and ends its constructor with
    :meth:`_build_losses`, the dry forward, when all its networks are there.

    Args:
        student (dict): Model config of the student.
        losses (dict[str, dict]): The terms (:class:`OfflineDistiller`).
        teachers (dict[str, dict]): Frozen teachers by name (:class:`Teacher`); a single one may
            have the name ``ONLY``.
        data_preprocessor (dict, optional): See :class:`BaseDistiller`.
    """

    def __init__(
        self,
        student: dict,
        losses: dict[str, dict],
        teachers: dict[str, dict],
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(student, data_preprocessor)
        self.terms, self.losses = build_terms(losses)
        # How often tapped modules ran in the dry forward, by teacher; the student's name is None.
        self._calls: dict[str | None, dict[str, int]] = {}
        self._build_teachers(teachers)

    def _build_teachers(self, teachers: dict[str, dict]) -> None:
        # Set past nn.Module, which would take the teachers into the module tree.
        self.__dict__['teachers'] = {}
        for name, cfg in teachers.items():
            key = 'model.teacher' if name == ONLY else f'model.teachers.{name}'
            if not isinstance(cfg, Mapping):
                raise TypeError(
                    f'{key}={cfg!r} is a {type(cfg).__name__}, expected dict(config=..., '
                    'checkpoint=...)'
                )
            try:
                self.teachers[name] = Teacher(self.data_preprocessor, **cfg, key=key)
            except TypeError as error:
                raise TypeError(f'{key}: {error}') from error

    def _apply(self, fn: Any, recurse: bool = True) -> TermDistiller:
        super()._apply(fn, recurse)
        for teacher in self.teachers.values():
            teacher.apply_(fn, recurse)
        return self

    @abstractmethod
    def _locate(self, path: str) -> tuple[str, str]:
        """Split a teacher tap into the teacher's name and the path in it."""

    def _student_paths(self, terms: list[Term]) -> list[str]:
        """What to tap in the student: the terms' taps."""
        return [path for term in terms for path in paths_of(term.student)]

    def _teacher_paths(self, terms: list[Term]) -> dict[str, list[str]]:
        """What to tap in each teacher: the terms' taps."""
        located = [self._locate(path) for term in terms for path in paths_of(term.teacher)]
        return {name: [p for n, p in located if n == name] for name in self.teachers}

    def _learner(self, path: str) -> tuple[nn.Module, str]:
        """The trained network that a tap of the student side lies in, and the path in it."""
        return self.student, path

    def _source(self, path: str) -> tuple[nn.Module, str]:
        """The network that a tap of the teacher side lies in, and the path in it."""
        name, rest = self._locate(path)
        return self.teachers[name].model, rest

    def _check_term(self, term: Term) -> None:
        """Refuse taps that there are not, or that this class or the term's loss cannot serve.

        Raises:
            ValueError: If there is such a tap.
        """
        sides = [('student', *self._learner(path)) for path in paths_of(term.student)]
        sides += [('teacher', *self._source(path)) for path in paths_of(term.teacher)]
        for side, model, path in sides:
            parse(path).find(model)
            self._check_tap(side, model, path)
            if self.losses[term.name].needs_softmax:
                check_softmax(self.losses[term.name], side, model, path)

    def _check_tap(self, side: str, model: nn.Module, path: str) -> None:
        """Refuse a tap that this class cannot serve.

        Raises:
            ValueError: If it is such a tap.
        """

    def _tap_student(self, terms: list[Term]) -> Taps:
        return Taps(self.student, self._student_paths(terms), self._calls.get(None))

    def _run(
        self, model: nn.Module, paths: list[str], inputs: Tensor, data_samples: list | None
    ) -> None:
        """Run a network as far as ``paths`` need."""
        if only_features(paths):
            run_features(model, paths, inputs)
        else:
            model(inputs, data_samples, mode='tensor')

    def _run_teacher(
        self,
        teacher: Teacher,
        paths: list[str],
        inputs: Tensor,
        data_samples: list | None,
        student: Taps,
    ) -> None:
        """Run a teacher as far as ``paths`` need."""
        self._run(teacher.model, paths, inputs, data_samples)

    def _teacher_records(
        self, terms: list[Term], inputs: Tensor, data_samples: list | None, student: Taps
    ) -> dict[str, Taps]:
        records = {}
        for name, paths in self._teacher_paths(terms).items():
            if not paths:
                continue
            teacher = self.teachers[name]
            # A dtype of the teacher's own is none for the layers of a loss.
            given = {} if teacher.dtype is None else dict(given=upcast)
            calls = self._calls.get(name)
            records[name] = Taps(teacher.model, paths, calls, stop=True, **given)
            with torch.no_grad(), teacher.precision(inputs.device), records[name]:
                batch = teacher.renormalize(inputs, data_samples)
                until_reached(self._run_teacher, teacher, paths, batch, data_samples, student)
        return records

    def _sides(self, term: Term, student: Taps, teachers: dict[str, Taps]) -> tuple[Any, Any]:
        """The tensors that a term compares."""
        return read(student, term.student), self._teacher_side(term, teachers)

    def _teacher_side(self, term: Term, teachers: dict[str, Taps]) -> Any:
        def from_teacher(path: str) -> Any:
            name, rest = self._locate(path)
            return teachers[name][rest]

        return read(from_teacher, term.teacher)

    def _dry_samples(self, input_shape: tuple[int, int, int]) -> list | None:
        """Data samples of the dry forward's two images, if the models need any."""
        return None

    def _input_shapes(self, given: Sequence[int] | None) -> list[tuple[int, int, int]]:
        """Shapes (C, H, W) to try for the dummy image: as given, or what the networks may need."""
        if given is None:
            bound = [t.model for t in self.teachers.values() if t.input_size is None]
            return image_shapes(self.student, *bound)
        if not is_shape(given, 3):
            raise ValueError(
                f'model.input_shape={given!r}, expected channels, height and width, such as '
                '(3, 64, 64)'
            )
        return [tuple(given)]

    def _build_losses(self, input_shape: Sequence[int] | None) -> None:
        """Let every loss see the shapes it will get, in a forward of a dummy batch."""
        shapes = self._input_shapes(input_shape)
        for term in self.terms:
            try:
                self._check_term(term)
            except ValueError as error:
                raise ValueError(f'losses.{term.name}: {error}') from error
        student, teachers = first_fit(shapes, self._dry_records)
        for term in self.terms:
            with torch.no_grad():
                self._build_loss(term, student, teachers)
        tapped = {path for term in self.terms for path in paths_of(term.student)}
        records = {None: student, **teachers}
        self._calls = {name: record.calls for name, record in records.items()}
        self._calls[None] = {path: n for path, n in student.calls.items() if path in tapped}

    def _dry_records(self, input_shape: tuple[int, int, int]) -> tuple[Taps, dict[str, Taps]]:
        inputs = torch.linspace(-1, 1, 2 * torch.Size(input_shape).numel())
        inputs = inputs.view(2, *input_shape)
        samples = self._dry_samples(input_shape)
        fix = _FIX_TEACHER
        for teacher in self.teachers.values():
            if teacher.dtype is not None:
                fix = f'remove {teacher.key}.dtype if an operator lacks it, or {_FIX_TEACHER}'
        # With gradient, so that a term without any is found here and not in its first epoch.
        with torch.enable_grad():
            student = self._dry_student(inputs, samples)
            with dry('the teacher', inputs, fix):
                return student, self._teacher_records(self.terms, inputs, samples, student)

    def _build_loss(self, term: Term, student: Taps, teachers: dict[str, Taps]) -> None:
        with torch.enable_grad():
            try:
                learner, target = self._sides(term, student, teachers)
            except (RuntimeError, ValueError) as error:
                raise ValueError(f'losses.{term.name}: {error}') from error
            self._check_gradient(term, learner)
        try:
            self.losses[term.name].build(detach(learner), target)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f'losses.{term.name} (student={term.student!r} of {shapes(learner)}, '
                f'teacher={term.teacher!r} of {shapes(target)}): {error}'
                f'{_several(term, student, *teachers.values())}'
            ) from error

    def _check_gradient(self, term: Term, learner: Any) -> None:
        """Raise if no gradient flows into what a term is to teach.

        Raises:
            ValueError: If none of its tensors requires a gradient.
        """
        if torch.is_grad_enabled() and not any(x.requires_grad for x in tensors(learner)):
            path = paths_of(term.student)[0]
            raise ValueError(
                f'losses.{term.name}.student={term.student!r} carries no gradient, so the term '
                f'would teach nothing: {why_no_gradient(*self._learner(path))}'
            )

    def _dry_student(self, inputs: Tensor, samples: list | None) -> Taps:
        paths = self._student_paths(self.terms)
        with (
            evaluating(self.student),
            dry('the student', inputs),
            Taps(self.student, paths) as record,
        ):
            self._run(self.student, paths, inputs, samples)
        return record

    def check_data(self, classes: Sequence[str] | None, length: int, labelled: str = 'all') -> None:
        super().check_data(classes, length, labelled)
        for teacher in self.teachers.values():
            theirs = teacher.classes
            if theirs and classes and theirs != list(classes) and set(theirs) == set(classes):
                raise ValueError(
                    f'{teacher.key}.checkpoint was trained on the classes {_few(theirs)}, and the '
                    f'training data has the same in another order, {_few(classes)}: the teacher '
                    "would call each by another's name; give the dataset "
                    'metainfo=dict(classes=...) in the order of the teacher'
                )
        for term in self.terms:
            loss = self.losses[term.name]
            if hasattr(loss, 'check_data'):
                try:
                    loss.check_data(length)
                except ValueError as error:
                    raise ValueError(f'losses.{term.name}: {error}') from error

    def scheduled_weights(self) -> dict[str, float]:
        return {
            term.name: term.factor() * self.losses[term.name].loss_weight
            for term in self.terms
            if term.varies
        }

    def _active_terms(self) -> list[Term]:
        return [term for term in self.terms if term.factor()]

    def _with_terms(
        self,
        losses: dict[str, Tensor],
        student: Taps,
        teachers: dict[str, Taps],
        data_samples: list,
    ) -> dict[str, Tensor]:
        """Add every term's entry to ``losses``."""
        for term in self.terms:
            if term.key in losses:
                raise ValueError(
                    f"losses.{term.name} is logged as {term.key!r}, which is one of the student's "
                    f'own losses {sorted(losses)}; rename the term'
                )
            loss, factor = self.losses[term.name], term.factor()
            if factor:
                sides = self._sides(term, student, teachers)
                self._check_gradient(term, sides[0])
                losses[term.key] = factor * loss(*sides, data_samples)
            else:
                # DDP waits for a gradient of every parameter.
                zeros = [0 * p.sum() for p in loss.parameters() if p.requires_grad]
                losses[term.key] = sum(zeros, start=next(self.parameters()).new_zeros(()))
        return losses

    def pretrain_losses(
        self, inputs: Tensor, data_samples: list, names: Sequence[str]
    ) -> dict[str, Tensor]:
        """Return what a pre-training phase minimises, one entry ``loss_<name>`` a term.

        It is the term's ``pretrain_loss`` of the teacher's side where the loss has one, else the
        term itself. The student's own losses are not there.

        Args:
            inputs (Tensor): Batch normalised for the student, (N, C, H, W).
            data_samples (list): The batch's data samples.
            names (sequence of str): The terms, keys of ``losses``.

        Raises:
            KeyError: If there is no term of a name.
        """
        for name in names:
            if name not in self.losses:
                raise KeyError(
                    f'PretrainHook.losses has {name!r}; expected keys of model.losses: '
                    f'{sorted(self.losses.keys())}'
                )
        note_pretraining(names)
        terms = [term for term in self.terms if term.name in names]
        paths = self._student_paths(
            [term for term in terms if not hasattr(self.losses[term.name], 'pretrain_loss')]
        )
        with Taps(self.student, paths, self._calls.get(None)) as student:
            if only_features(paths):
                if paths:
                    run_features(self.student, paths, inputs)
            else:
                self.student(inputs, data_samples, mode='loss')
        teachers = self._teacher_records(terms, inputs, data_samples, student)
        losses = {}
        for term in terms:
            loss = self.losses[term.name]
            if hasattr(loss, 'pretrain_loss'):
                losses[term.key] = loss.pretrain_loss(self._teacher_side(term, teachers))
            else:
                losses[term.key] = loss(*self._sides(term, student, teachers), data_samples)
        return losses


_FIX_TEACHER = (
    'set input_size beside its config to resize its images, or model.input_shape to a size that it '
    'takes, or tap its backbone or neck alone'
)


def _few(classes: Sequence[str]) -> str:
    return f'({", ".join(classes[:4])}{", ..." if len(classes) > 4 else ""})'


def _several(term: Term, *records: Taps) -> str:
    """What to say, behind a message, of the taps of a term that give several calls."""
    named = [*paths_of(term.student), *paths_of(term.teacher)]
    counts = {
        path: count
        for record in records
        for path, count in record.calls.items()
        if count > 1
        and parse(path).call is None
        and any(name == path or name.endswith(f':{path}') for name in named)
    }
    return ''.join(
        f'; the module of {path!r} runs {count} times in a forward and gives a list of its calls; '
        f"'{parse(path).module}@-1' takes the last"
        for path, count in counts.items()
    )

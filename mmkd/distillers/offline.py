"""A frozen teacher, or several, teach one student."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import is_distributed
from mmengine.logging import print_log
from torch import Tensor, nn

from mmkd.build import check_arguments
from mmkd.registry import MODELS
from mmkd.taps import Taps

from .term_distiller import ONLY, TermDistiller, only_features
from .terms import Term


@MODELS.register_module()
class OfflineDistiller(TermDistiller):
    r"""Train a student with terms against frozen teachers.

    .. math:: L = w L_\text{student} + \sum_i L_i(\text{student taps}_i, \text{teacher taps}_i)

    The teachers are not in the module tree: they are in no state dict and no optimizer, and stay in
    ``eval()``. They run under ``no_grad``, and only as far as the taps need.

    Args:
        student (dict): Model config of the student.
        losses (dict[str, dict]): The terms. Each is the config of a
            :class:`~mmkd.losses.DistillLoss` plus ``student`` and ``teacher``, a tap or a list of
            taps (:class:`~mmkd.taps.Tap`), each a path or the arguments of a
            :class:`~mmkd.distillers.views.View` of it, and optionally ``begin``, ``end``,
            ``warmup`` and ``by_epoch`` (:class:`~mmkd.distillers.terms.Term`). Logged as
            ``loss_<name>``.
        teacher (dict, optional): ``config`` and ``checkpoint`` (:class:`Teacher`).
        teachers (dict[str, dict], optional): Several, by name; their taps are written
            ``'name:backbone.layer2'``. Give ``teacher`` or ``teachers``.
        student_loss_weight (float): The factor w of the student's own losses, which are not
            computed for 0: then images need no labels, and the student no head. Images that say so
            (:class:`~mmkd.datasets.MarkUnlabelled`) are left out of them. Defaults to 1.0.
        init_student (bool): Whether the student starts from the weights of the teacher's neck and
            heads, all that is not the backbone, where names and shapes are the same: the
            inheriting strategy of the configs of FGD and MGD, under their name. Needs a single
            teacher. Defaults to False.
        input_shape (tuple[int], optional): Shape (C, H, W) of the dummy image of the dry forward
            that checks taps and shapes at construction. Defaults to what the networks were made
            for (:func:`~mmkd.models.image_shape.image_shapes`).
        data_preprocessor (dict, optional): See :class:`BaseDistiller`.

    Raises:
        ValueError: If a tap names no module or is not reached, two sides cannot be compared, or
            ``init_student`` finds no weights to start from.

    Example:
        >>> model = dict(
        ...     type='mmkd.OfflineDistiller',
        ...     student=dict(type='ImageClassifier', ...),
        ...     teacher=dict(config='mmpretrain::resnet/resnet34_8xb32_in1k.py', checkpoint=...),
        ...     losses=dict(kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc')))
    """

    def __init__(
        self,
        student: dict,
        losses: dict[str, dict],
        teacher: dict | None = None,
        teachers: dict[str, dict] | None = None,
        student_loss_weight: float = 1.0,
        init_student: bool = False,
        input_shape: tuple[int, int, int] | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        check_arguments('model', OfflineDistiller, dict(student_loss_weight=student_loss_weight))
        if losses == {}:
            raise ValueError(
                f'model.losses={losses!r} has no term, so the teacher would teach nothing: give '
                "one, such as kd=dict(type='KLDivergenceLoss', student='head.fc', "
                "teacher='head.fc'), or "
                'train the student by its own config'
            )
        if (teacher is None) == (teachers is None):
            raise ValueError('give either model.teacher or model.teachers (a dict of them by name)')
        teachers = {ONLY: teacher} if teachers is None else teachers
        super().__init__(student, losses, teachers, data_preprocessor)
        self.student_loss_weight = student_loss_weight
        if student_loss_weight and not getattr(self.student, 'with_head', True):
            raise ValueError(
                'model.student has no head, so it has no loss of its own; set '
                f'model.student_loss_weight=0, found {student_loss_weight}, to train by the terms '
                'alone, or give it a head'
            )
        self.init_student = init_student
        if init_student:
            self._inherited()
        self._build_losses(input_shape)

    def init_weights(self) -> None:
        """Initialise as MMEngine does, then take over the teacher's weights with ``init_student``.

        The runner calls this before it loads or resumes a checkpoint, which therefore wins.
        """
        again = self.is_init
        super().init_weights()
        if again or not self.init_student:
            return
        ours, inherited = self.student.state_dict(), self._inherited()
        with torch.no_grad():
            for name, value in inherited.items():
                ours[name].copy_(value)
        left = sorted(name for name in _beyond_backbone(ours) if name not in inherited)
        others = f', but not {len(left)} others (such as {left[0]})' if left else ''
        print_log(
            f'init_student: the student starts from {len(inherited)} weights of the neck and heads '
            f'of the teacher{others}',
            logger='current',
        )

    def _inherited(self) -> dict[str, Tensor]:
        """The teacher's weights that the student starts from, by name.

        Raises:
            ValueError: If there are none.
        """
        if ONLY not in self.teachers:
            raise ValueError(
                'model.init_student=True takes the weights of one teacher, found teachers '
                f'{sorted(self.teachers)}; give model.teacher, or set init_student=False'
            )
        ours, teacher = self.student.state_dict(), self.teachers[ONLY].model
        theirs = _beyond_backbone(teacher.state_dict())
        inherited = {
            name: value
            for name, value in theirs.items()
            if name in ours and ours[name].shape == value.shape
        }
        if not inherited:
            raise ValueError(
                f'model.init_student=True: none of the {len(theirs)} weights of the teacher, a '
                f'{type(teacher).__name__}, outside of its backbone has the name and shape of one '
                f'of the student, a {type(self.student).__name__}; set init_student=False'
            )
        return inherited

    def _locate(self, path: str) -> tuple[str, str]:
        """Split a teacher tap into the teacher's name and the path in it."""
        if ONLY in self.teachers:
            return ONLY, path
        name, colon, rest = path.partition(':')
        if not colon or name not in self.teachers:
            raise ValueError(
                f'teacher tap {path!r} names no teacher; with model.teachers write '
                f"'name:path' with a name of {sorted(self.teachers)}"
            )
        return name, rest

    def _check_tap(self, side: str, model: nn.Module, path: str) -> None:
        is_detector = any(c.__module__.startswith('mmdet.') for c in type(model).__mro__)
        if is_detector and not only_features([path]):
            raise ValueError(
                f'the {side} tap {path!r} lies in a head of the detector {type(model).__name__}, '
                "which needs type='mmkd.DetectionDistiller' in place of OfflineDistiller"
            )

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Return the student's own losses and one entry ``loss_<name>`` a term.

        mmpretrain's ``loss`` is returned as ``loss_student``.

        Raises:
            ValueError: If a term's name collides with one of the student's losses.
            RuntimeError: If a tap was not reached or overwritten in place.
        """
        active = self._active_terms()
        student = self._tap_student(active)
        losses = self._student_losses(student, active, inputs, data_samples)
        # MMEngine logs the total as `loss`, the name mmpretrain gives its only loss.
        losses = {
            'loss_student' if key == 'loss' else key: self._weighted(value)
            if 'loss' in key
            else value
            for key, value in losses.items()
        }
        teachers = self._teacher_records(active, inputs, data_samples, student)
        return self._with_terms(losses, student, teachers, data_samples)

    def _student_losses(
        self, student: Taps, active: list[Term], inputs: Tensor, data_samples: list
    ) -> dict[str, Any]:
        """The student's own losses, of those images that have labels; it is tapped with all."""
        labelled = [
            index
            for index, sample in enumerate(data_samples)
            if not sample.metainfo.get('unlabelled', False)
        ]
        paths = self._student_paths(active)
        wanted = self.student_loss_weight or self._taps_in_losses(paths)
        if wanted and len(labelled) == len(data_samples):
            with student:
                return self.student(inputs, data_samples, mode='loss')
        with _shared_features(self.student, labelled):
            with student:
                # Beside the taps the features, which the losses go on from.
                more = ['neck'] if wanted and labelled else []
                self._run(self.student, [*paths, *more], inputs, data_samples)
            if more:
                samples = [data_samples[index] for index in labelled]
                return self.student(inputs[labelled], samples, mode='loss')
        zero = next(self.parameters()).new_zeros(())
        # DDP waits for a gradient of every parameter.
        unused = self.student.parameters() if is_distributed() else ()
        return dict(loss=sum((0 * p.sum() for p in unused if p.requires_grad), start=zero))

    def _taps_in_losses(self, paths: list[str]) -> bool:
        """Whether there is a tap that is reached in the student's losses alone."""
        return False

    def _check_labels(self, labelled: str) -> None:
        if labelled == 'none' and self.student_loss_weight:
            raise ValueError(
                "none of the training images has labels, which the student's own losses need; set "
                f'model.student_loss_weight=0, found {self.student_loss_weight}, to train by the '
                'terms alone'
            )
        for term in self.terms if labelled != 'all' else ():
            if self.losses[term.name].needs_labels:
                raise ValueError(
                    f'losses.{term.name} is a {type(self.losses[term.name]).__name__}, which needs '
                    f'labels, and {labelled} of the training images have them; remove the term, or '
                    'the images without'
                )

    def _weighted(self, value: Any) -> Any:
        if self.student_loss_weight == 1.0:
            return value
        if isinstance(value, (list, tuple)):
            return [self._weighted(item) for item in value]
        return value * self.student_loss_weight


@contextmanager
def _shared_features(model: nn.Module, rows: list[int]) -> Iterator[None]:
    """Compute ``extract_feat`` once in the context, and give the second call those rows alone."""
    extract, features = model.extract_feat, []

    def take(value: Any) -> Any:
        return value[rows] if isinstance(value, Tensor) else type(value)(map(take, value))

    def once(*args: Any, **kwargs: Any) -> Any:
        if features:
            return take(features[0])
        features.append(extract(*args, **kwargs))
        return features[0]

    model.extract_feat = once
    try:
        yield
    finally:
        del model.extract_feat


def _beyond_backbone(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state_dict.items() if not k.startswith('backbone.')}

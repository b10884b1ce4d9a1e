"""Offline distillation of detectors: the teacher's RoI head sees the student's proposals."""

from __future__ import annotations

import re

from torch import Tensor, nn

from mmkd.registry import MODELS
from mmkd.taps import Taps

from .offline import OfflineDistiller
from .teacher import Teacher
from .term_distiller import run_features
from .terms import Term, paths_of

_ROI = re.compile(r'roi_head\.(?P<kind>bbox|mask)_(head|roi_extractor)(\.(?P<stage>\d+))?(?!\w)')

#: A part of a RoI head that runs on RoIs of its own: ('bbox' or 'mask', cascade stage).
Branch = tuple[str, int]


def roi_branch(path: str) -> Branch | None:
    """The branch of the RoI head that a tap lies in; None outside the RoI head.

    Raises:
        ValueError: If the tap lies in a part of the RoI head that has no RoIs of its own.
    """
    if not path.startswith('roi_head'):
        return None
    match = _ROI.match(path)
    if match is None:
        raise ValueError(
            f'tap {path!r}: of a RoI head only bbox_head, mask_head and their roi_extractors '
            'can be tapped on the teacher'
        )
    return match['kind'], int(match['stage'] or 0)


@MODELS.register_module()
class DetectionDistiller(OfflineDistiller):
    r"""Distil an mmdet detector from frozen detectors.

    Taps in the backbone and the neck cost the teacher those and no more. Taps in a one-stage head
    run that head. For taps in the RoI head, the student's forward samples RoIs as always, and the
    very tensor that enters the student's RoI extractor enters the teacher's: row i of both heads is
    the same box, without which a KL between them would mean nothing (*Distilling Knowledge via
    Knowledge Review*, supplement, section 2). In a cascade every stage has its own RoIs; a plain
    RoI head counts as stage 0.

    Args: see :class:`OfflineDistiller`.

    Example:
        >>> model = dict(
        ...     type='mmkd.DetectionDistiller',
        ...     student=dict(type='FasterRCNN', ...),
        ...     teacher=dict(
        ...         config='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py', checkpoint=...),
        ...     losses=dict(
        ...         kd=dict(type='KLDivergenceLoss', tau=1.0, loss_weight=20.0,
        ...                 student='roi_head.bbox_head.fc_cls',
        ...                 teacher='roi_head.bbox_head.fc_cls')))
    """

    def _rois_path(self, branch: Branch) -> str:
        """Tap of the RoIs that enter a branch of the student."""
        kind, stage = branch
        name = f'{kind}_roi_extractor'
        extractor = getattr(getattr(self.student, 'roi_head', None), name, None)
        if extractor is None:
            raise ValueError(
                f'a teacher tap lies in roi_head.{kind}_head, but the student '
                f'{type(self.student).__name__} has no roi_head.{name} to take RoIs from'
            )
        is_cascade = isinstance(extractor, nn.ModuleList)
        return f'roi_head.{name}{f".{stage}" if is_cascade else ""}:input[1]'

    def _teacher_branches(self, term: Term) -> set[Branch]:
        branches = {roi_branch(self._locate(path)[1]) for path in paths_of(term.teacher)}
        return branches - {None}

    def _student_paths(self, terms: list[Term]) -> list[str]:
        paths = super()._student_paths(terms)
        for term in terms:
            theirs = self._teacher_branches(term)
            if not theirs:
                continue
            ours = {roi_branch(path) for path in paths_of(term.student)}
            if ours != theirs:
                raise ValueError(
                    f'losses.{term.name}: student={term.student!r} and teacher={term.teacher!r} do '
                    'not run on the same RoIs; tap the same stage and head on both sides (a plain '
                    'RoI head counts as stage 0 of a cascade)'
                )
            paths += [self._rois_path(branch) for branch in theirs]
        return paths

    def _run_teacher(
        self, teacher: Teacher, paths: list[str], inputs: Tensor, student: Taps
    ) -> None:
        model = teacher.model
        features = run_features(model, paths, inputs)
        for kind, stage in sorted({roi_branch(path) for path in paths} - {None}):
            forward = getattr(model.roi_head, f'_{kind}_forward')
            is_cascade = isinstance(getattr(model.roi_head, f'{kind}_head'), nn.ModuleList)
            rois = student[self._rois_path((kind, stage))]
            forward(*([stage] if is_cascade else []), features, rois)
        for head in ('rpn_head', 'bbox_head'):
            if any(path.startswith(head) for path in paths):
                getattr(model, head)(features)

    def _dry_samples(self, input_shape: tuple[int, int, int]) -> list:
        # mmdet takes seconds to import: not for those who distil classifiers.
        from mmdet.structures import DetDataSample

        size = input_shape[1:]
        meta = dict(img_shape=size, ori_shape=size, batch_input_shape=size, pad_shape=size)
        return [DetDataSample(metainfo={**meta, 'scale_factor': (1.0, 1.0)}) for _ in range(2)]

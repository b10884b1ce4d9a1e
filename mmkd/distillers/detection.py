"""Offline distillation of detectors: the teacher's RoI head sees the student's proposals."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmkd.registry import MODELS
from mmkd.taps import Taps, parse

from .offline import OfflineDistiller
from .teacher import Teacher
from .term_distiller import run_features
from .terms import Term
from .views import paths_of

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


def _part(path: str) -> str:
    """The child of the detector that a tap lies in."""
    return parse(path).module.partition('.')[0]


def in_a_loss(path: str) -> bool:
    """Whether a tap lies in a loss module, which runs in no forward but that of the losses."""
    return any(name.startswith('loss_') for name in parse(path).module.split('.'))


@contextmanager
def _training_outputs(part: nn.Module) -> Iterator[nn.Module]:
    """Let a head give what its loss takes; all layers in it stay in ``eval()``.

    FCOS, VFNet, RepPoints, SOLO and others decode, mask or resize where ``self.training`` is False.
    """
    training, part.training = part.training, True
    try:
        yield part
    finally:
        part.training = training


def run_parts(
    model: nn.Module, paths: list[str], inputs: Tensor, data_samples: list | None
) -> tuple[Tensor, ...]:
    """Run a detector but its RoI head as far as ``paths`` need, and heads as its loss does.

    Args:
        model (nn.Module): The detector.
        paths (list[str]): The taps to reach.
        inputs (Tensor): Normalised batch, (N, C, H, W).
        data_samples (list): The batch's data samples.

    Returns:
        tuple[Tensor]: The features that heads go on from.
    """
    features = run_features(model, paths, inputs)
    for part in sorted({_part(path) for path in paths} - {'backbone', 'neck', 'roi_head'}):
        if part == 'encoder':
            encoder_inputs, _ = model.pre_transformer(features, data_samples)
            model.forward_encoder(**encoder_inputs)
            continue
        with _training_outputs(getattr(model, part)) as head:
            head(features, *([data_samples] if part == 'panoptic_head' else []))
    return features


def not_paired(model: nn.Module, path: str) -> str:
    """Why what is tapped of one detector has no counterpart in another; empty if it has one."""
    # mmdet takes seconds to import: not for those who distil classifiers.
    from mmdet.models.detectors import (
        DetectionTransformer,
        MaskFormer,
        SemiBaseDetector,
        TridentFasterRCNN,
    )
    from mmdet.models.detectors.single_stage_instance_seg import SingleStageInstanceSegmentor
    from mmdet.models.mot import BaseMOTModel
    from mmdet.models.roi_heads import SparseRoIHead

    if isinstance(model, (BaseMOTModel, SemiBaseDetector)):
        return (
            'it takes other batches than a detector does; distil the detector in it alone, and '
            'give it the weights of student.pth'
        )
    part, served = _part(path), ['backbone', 'neck']
    if isinstance(model, TridentFasterRCNN):
        return (
            ''
            if part == 'backbone' and model.test_branch_idx == -1
            else 'it trains several branches and runs one of them on the teacher; tap backbone, '
            'and set test_branch_idx=-1 in its backbone and its roi_head'
        )
    queries = 'its queries are learned, and query i of another detector looks for other objects'
    if hasattr(model, 'language_model'):
        reason = 'what follows its neck also reads a caption, which the teacher is not given'
    elif isinstance(model, DetectionTransformer):
        served.append('encoder')
        reason = queries
    elif isinstance(model, MaskFormer):
        served.append('panoptic_head.pixel_decoder')
        reason = queries
    elif isinstance(getattr(model, 'roi_head', None), SparseRoIHead):
        reason = queries
    elif isinstance(model, SingleStageInstanceSegmentor) and model.with_bbox:
        served.append('bbox_head')
        reason = 'its mask head runs on the positives of its own boxes'
    else:
        served += ['rpn_head', 'roi_head', 'bbox_head', 'mask_head', 'semantic_head']
        reason = 'it is no part that runs on the features'
    module = parse(path).module
    if any(module == name or module.startswith(f'{name}.') for name in served):
        head = getattr(model, part)
        if type(head).forward is not nn.Module.forward:
            return ''
        served.remove(part)
        reason = f'its {type(head).__name__} has no forward that takes the features'
    return f'{reason}; tap {", ".join(name for name in served if hasattr(model, _part(name)))}'


def _anchor_generator(model: nn.Module) -> Any:
    """What makes a detector's anchors; None where it has none."""
    heads = (getattr(model, name, None) for name in ('rpn_head', 'bbox_head'))
    generators = (getattr(head, 'prior_generator', None) for head in heads)
    return next((x for x in generators if hasattr(x, 'base_anchors')), None)


def more_than_rois(model: nn.Module, branch: Branch) -> str:
    """Why a branch of a RoI head cannot be run on another detector's RoIs; empty if it can."""
    head, (kind, _) = model.roi_head, branch
    known = {'stage', 'x', 'rois', 'pos_inds', 'bbox_feats'}
    others = [
        name
        for name in inspect.signature(getattr(head, f'_{kind}_forward')).parameters
        if name not in known
    ]
    if others:
        return (
            f'its {type(head).__name__} takes {", ".join(others)} beside the RoIs; tap backbone or '
            'neck'
        )
    if kind == 'mask' and getattr(head, 'share_roi_extractor', False):
        return 'its mask head shares the RoI extractor of its boxes; tap roi_head.bbox_head'
    return ''


def other_rois(model: nn.Module, branch: Branch) -> str:
    """Why the RoIs of a branch are not those its loss sees; empty if they are."""
    kind, stage = branch
    samplers = getattr(model.roi_head, 'bbox_sampler', None)
    sampler = samplers[stage] if isinstance(samplers, list) else samplers
    if kind == 'bbox' and hasattr(sampler, 'context'):
        return (
            f'its {type(sampler).__name__} runs the head on RoIs that no loss sees; tap backbone '
            'or neck, or set another train_cfg.rcnn.sampler'
        )
    return ''


@MODELS.register_module()
class DetectionDistiller(OfflineDistiller):
    r"""Distil an mmdet detector from frozen detectors.

    Taps in the backbone and the neck cost the teacher those and no more. Taps in a one-stage head,
    an RPN, the semantic head, the encoder of a DETR or the pixel decoder of a MaskFormer run the
    teacher's on its own features: position i of both is the same place of the image. Heads that
    give one thing in training and another in prediction (boxes in strides or in pixels) give the
    teacher's side what they give in training. What belongs to learned queries (decoders, and heads
    behind them) is refused, as query i of a student and query i of a teacher look for different
    objects.

    For taps in the RoI head, the student's forward samples RoIs as always, and the
    very tensor that enters the student's RoI extractor enters the teacher's: row i of both heads is
    the same box, without which a KL between them would mean nothing (*Distilling Knowledge via
    Knowledge Review*, supplement, section 2). In a cascade every stage has its own RoIs; a plain
    RoI head counts as stage 0.

    Args: see :class:`OfflineDistiller`.

    Raises:
        ValueError: If a tap lies where student and teacher cannot be paired, or otherwise as
            :class:`OfflineDistiller`.

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
        extractor = getattr(self.student.roi_head, name)
        is_cascade = isinstance(extractor, nn.ModuleList)
        # Some heads run the extractor again on the same RoIs, for features of another scale.
        return f'roi_head.{name}{f".{stage}" if is_cascade else ""}@0:input[1]'

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

    def _check_tap(self, side: str, model: nn.Module, path: str) -> None:
        reason = not_paired(model, path)
        branch = None if reason else roi_branch(path)
        if not reason and side == 'teacher' and in_a_loss(path):
            reason = 'its losses are not run; tap them in the student'
        elif branch:
            reason = (more_than_rois if side == 'teacher' else other_rois)(model, branch)
        if reason:
            raise ValueError(
                f'the {side} tap {path!r} cannot be paired in a {type(model).__name__}: {reason}'
            )

    def _build_loss(self, term: Term, student: Taps, teachers: dict[str, Taps]) -> None:
        super()._build_loss(term, student, teachers)
        given = getattr(self.losses[term.name], 'anchor_generator', None)
        own = _anchor_generator(self.student)
        if given is None or own is None:
            return
        found, expected = ([base.tolist() for base in x.base_anchors] for x in (given, own))
        if found != expected:
            raise ValueError(
                f'losses.{term.name}.anchor_generator is not that of the student, {own}; found '
                f'{given}; give it anchor_generator of the rpn_head or bbox_head of model.student'
            )

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        try:
            return super().loss(inputs, data_samples)
        except RuntimeError as error:
            if 'BFloat16' not in str(error):
                raise
            raise RuntimeError(
                f'{type(self.student).__name__} runs an operator of mmcv that has no bfloat16 '
                f'({error}), with a distiller as without; set optim_wrapper.dtype to float16 on a '
                'GPU, or train without --amp, with OptimWrapper'
            ) from error

    def _taps_in_losses(self, paths: list[str]) -> bool:
        return any(in_a_loss(path) or roi_branch(path) for path in paths)

    def _check_labels(self, labelled: str) -> None:
        super()._check_labels(labelled)
        for term in self.terms if labelled != 'all' else ():
            if self._taps_in_losses(paths_of(term.student)):
                raise ValueError(
                    f'losses.{term.name}.student={term.student!r} is reached with the labels that '
                    f'the student samples boxes by, and {labelled} of the training images have '
                    'them; tap the backbone, the neck or a head before'
                )

    def _run(
        self, model: nn.Module, paths: list[str], inputs: Tensor, data_samples: list | None
    ) -> None:
        if any(map(in_a_loss, paths)):
            model(inputs, data_samples, mode='loss')
            return
        features = run_parts(model, paths, inputs, data_samples)
        if any(path.startswith('roi_head') for path in paths):
            # Before it is initialised, a network may compute what is no feature and no box.
            features = [feature.nan_to_num().tanh() for feature in features]
            model.roi_head(features, [sample.proposals for sample in data_samples], data_samples)

    def _run_teacher(
        self,
        teacher: Teacher,
        paths: list[str],
        inputs: Tensor,
        data_samples: list | None,
        student: Taps,
    ) -> None:
        model = teacher.model
        branches = sorted({roi_branch(path) for path in paths} - {None})
        features = run_parts(model, paths, inputs, data_samples)
        for kind, stage in branches:
            forward = getattr(model.roi_head, f'_{kind}_forward')
            is_cascade = isinstance(getattr(model.roi_head, f'{kind}_head'), nn.ModuleList)
            rois = student[self._rois_path((kind, stage))]
            forward(*([stage] if is_cascade else []), features, rois)

    def _dry_samples(self, input_shape: tuple[int, int, int]) -> list:
        """Each image has one box and one proposal, the whole, for taps in RoI heads and losses."""
        from mmdet.structures import DetDataSample
        from mmdet.structures.mask import BitmapMasks
        from mmengine.structures import InstanceData, PixelData

        height, width = size = input_shape[1:]
        meta = dict(img_shape=size, ori_shape=size, batch_input_shape=size, pad_shape=size)
        sample = DetDataSample(metainfo={**meta, 'scale_factor': (1.0, 1.0)})
        whole = torch.tensor([[0.0, 0.0, width, height]])
        sample.proposals = InstanceData(bboxes=whole)
        sample.gt_instances = InstanceData(
            bboxes=whole,
            labels=torch.zeros(1, dtype=torch.long),
            masks=BitmapMasks(np.ones((1, *size), np.uint8), *size),
        )
        sample.gt_sem_seg = PixelData(sem_seg=torch.zeros(1, *size, dtype=torch.long))
        return [sample, sample.clone()]

    @property
    def bbox_head(self) -> nn.Module:
        """The student's head, where mmdet's YOLOXModeSwitchHook looks for it."""
        return self.student.bbox_head

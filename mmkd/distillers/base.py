"""What every distiller shares: a student that predicts, and a loss that only training sees."""

from __future__ import annotations

import copy
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd.build import check_config
from mmkd.models.multi_exit import MultiExitClassifier, check_trains, without_exits
from mmkd.publish import load_plain
from mmkd.registry import MODELS


class Distiller(BaseModel, metaclass=ABCMeta):
    """What the tools know of a distiller: which students it trains, and what it predicts with.

    They ask the class, found in the registry by ``model.type``, so that no network is built.
    """

    @classmethod
    @abstractmethod
    def whole_students(cls, model: dict) -> list[tuple[str, dict]]:
        """Prefix in the state dict and model config of every student, exits included.

        Args:
            model (dict): Config of the distiller.
        """

    @classmethod
    def students(cls, model: dict, keep_exits: bool = False) -> list[tuple[str, dict]]:
        """As :meth:`whole_students`; without ``keep_exits`` of the networks that exits start from.

        Args:
            model (dict): Config of the distiller.
            keep_exits (bool): Whether a student with exits keeps them. Defaults to False.
        """
        found = cls.whole_students(model)
        if keep_exits:
            return found
        return [
            (f'{prefix}model.', student['model']) if _has_exits(student) else (prefix, student)
            for prefix, student in found
        ]

    @classmethod
    def output_names(cls, model: dict) -> list[str]:
        """What :class:`~mmkd.evaluation.OutputAccuracy` calls the output of every student.

        ``student``, ``student2``, ..., as the published files, unless a distiller says otherwise.
        """
        return [
            f'student{index + 1 if index else ""}'
            for index, _ in enumerate(cls.whole_students(model))
        ]

    @classmethod
    def evaluated(cls, model: dict) -> dict | None:
        """Config, without frozen teachers, of what a training checkpoint is evaluated with.

        None, the default, where that is the student alone.
        """
        return None

    def check_data(self, classes: Sequence[str] | None, length: int, labelled: str = 'all') -> None:
        """Refuse training data that does not fit what is trained, or a term.

        Args:
            classes (sequence of str, optional): Names of the classes, where the data has any.
            length (int): Number of samples.
            labelled (str): Which samples have labels: ``'all'``, ``'some'`` or ``'none'``. Defaults
                to ``'all'``.

        Raises:
            ValueError: If something does not fit.
        """
        self._check_labels(labelled)
        if labelled != 'none':
            check_num_classes('model.student', self._warm_started(), classes)

    def _check_labels(self, labelled: str) -> None:
        if labelled != 'all':
            raise ValueError(
                f'{labelled} of the training images have labels, and {type(self).__name__} needs '
                'those of all; take mmkd.OfflineDistiller or mmkd.DetectionDistiller'
            )

    def _warm_started(self) -> nn.Module:
        """The student that takes the weights of a plain model given as ``load_from``."""
        return self.student

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Load a plain student's weights into the student, and a distiller's as torch does.

        Raises:
            ValueError: If the weights are neither the distiller's nor fit the student.
        """
        # Inside of another module the keys have a prefix: that is a whole checkpoint.
        if state_dict and not prefix and not state_dict.keys() & self.state_dict().keys():
            student = self._warm_started()
            if isinstance(student, MultiExitClassifier) and not (
                state_dict.keys() & student.state_dict().keys()
            ):
                student = student.model
            load_plain(
                student,
                dict(state_dict),
                'load_from',
                'Give weights of that very model, or keep those that fit by '
                "init_cfg=dict(type='Pretrained', checkpoint=FILE) in the student's config "
                'in place of load_from',
            )
            print_log(
                f'load_from: the student {type(student).__name__} starts from the '
                f'{len(state_dict)} weights of a plain model',
                logger='current',
            )
            # The rest of the load, module by module, then changes nothing and misses nothing.
            state_dict.clear()
            state_dict.update(self.state_dict())
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def trained_networks(self) -> dict[str, nn.Module]:
        """By name, the networks that are trained, each a model that could train alone.

        The student, unless a distiller says otherwise.
        """
        return dict(student=self.student)

    def scheduled_weights(self) -> dict[str, float]:
        """What the weight of each term that has a schedule is now, by the term's name."""
        return {}

    def parse_losses(self, losses: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """As MMEngine's; ``weight_<name>`` is logged too (:meth:`scheduled_weights`)."""
        total, logged = super().parse_losses(losses)
        weights = {f'weight_{name}': value for name, value in self.scheduled_weights().items()}
        return total, {**logged, **weights}

    @abstractmethod
    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Return the students' own losses and the distillation terms."""


def num_classes(model: nn.Module) -> set[int]:
    """How many classes the heads of a network predict, of those that say it."""
    model = without_exits(model)
    owners = (model, getattr(model, 'roi_head', None))
    heads = [getattr(owner, name, None) for owner in owners for name in ('head', 'bbox_head')]
    stages = [stage for head in heads for stage in (head if _is_list(head) else [head])]
    return {getattr(stage, 'num_classes', None) for stage in stages} - {None}


def check_num_classes(key: str, model: nn.Module, classes: Sequence[str] | None) -> None:
    """Raise if a network predicts more or fewer classes than the data has."""
    for found in num_classes(model):
        if classes and found != len(classes):
            raise ValueError(
                f'{key} has a head of num_classes={found}, and the training data has '
                f'{len(classes)} classes ({", ".join(classes[:3])}, ...); set its num_classes to '
                f'{len(classes)}'
            )


def _is_list(head: Any) -> bool:
    return isinstance(head, (list, nn.ModuleList))


def _has_exits(student: dict) -> bool:
    kind = student['type']
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, MultiExitClassifier)


class BaseDistiller(Distiller):
    """Base of the distillers of one student.

    The student is an ordinary mmdet or mmpretrain model under the attribute ``student``; it alone
    predicts. The distiller's data preprocessor is the student's.

    Args:
        student (dict): Model config of the student.
        data_preprocessor (dict, optional): Config that MMEngine's runner passes on from the top
            level of a config file; used if the student has none of its own.
    """

    def __init__(self, student: dict, data_preprocessor: dict | None = None) -> None:
        check_config('model.student', student, 'the config of an mmpretrain or mmdet model')
        student = copy.deepcopy(student)
        if data_preprocessor is not None:
            student.setdefault('data_preprocessor', data_preprocessor)
        student = MODELS.build(student)
        check_trains('model.student', student)
        super().__init__(data_preprocessor=student.data_preprocessor)
        self.student = student

    @classmethod
    def whole_students(cls, model: dict) -> list[tuple[str, dict]]:
        return [('student.', model['student'])]

    @property
    def head(self) -> nn.Module:
        """The student's head, where mmpretrain's SwitchRecipeHook looks for the loss."""
        return without_exits(self.student).head

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> Any:
        """As the student's, except that ``mode='loss'`` adds the distillation terms.

        Args:
            inputs (Tensor): Batch normalised for the student, (N, C, H, W).
            data_samples (list, optional): The batch's data samples.
            mode (str): ``'loss'``, ``'predict'`` or ``'tensor'``.

        Returns:
            dict[str, Tensor] for ``'loss'``, else what the student returns.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        return self.student(inputs, data_samples, mode=mode)

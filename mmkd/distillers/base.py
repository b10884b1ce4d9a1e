"""What every distiller shares: a student that predicts, and a loss that only training sees."""

from __future__ import annotations

import copy
from abc import ABCMeta, abstractmethod
from typing import Any

from mmengine.model import BaseModel
from torch import Tensor

from mmkd.registry import MODELS


class BaseDistiller(BaseModel, metaclass=ABCMeta):
    """Base of all distillers.

    The student is an ordinary mmdet or mmpretrain model under the attribute ``student``; it alone
    predicts. The distiller's data preprocessor is the student's.

    Args:
        student (dict): Model config of the student.
        data_preprocessor (dict, optional): Config that MMEngine's runner passes on from the top
            level of a config file; used if the student has none of its own.
    """

    def __init__(self, student: dict, data_preprocessor: dict | None = None) -> None:
        student = copy.deepcopy(student)
        if data_preprocessor is not None:
            student.setdefault('data_preprocessor', data_preprocessor)
        student = MODELS.build(student)
        super().__init__(data_preprocessor=student.data_preprocessor)
        self.student = student

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

    @abstractmethod
    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Return the student's own losses and the distillation terms."""

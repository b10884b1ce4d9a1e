"""Pictures of teacher, student and distilled student."""

import pytest
import torch
from mmengine.structures import InstanceData

from mmkd.analysis import comparison

TRUTH = [dict(bbox=[0, 0, 10, 10], bbox_label=3), dict(bbox=[20, 20, 40, 40], bbox_label=7)]


def detections(*found):
    boxes = torch.tensor([box for box, _ in found], dtype=torch.float32).reshape(-1, 4)
    return InstanceData(bboxes=boxes, labels=torch.tensor([label for _, label in found]))


@pytest.mark.parametrize(
    ('found', 'right'),
    [
        ([], 0),
        ([([0, 0, 10, 10], 3), ([20, 20, 40, 40], 7)], 2),
        ([([0, 0, 10, 10], 7), ([20, 20, 40, 40], 3)], 0),
        ([([0, 0, 10, 4], 3), ([20, 20, 40, 32], 7)], 1),
        # Twice the same is one.
        ([([0, 0, 10, 10], 3), ([0, 0, 10, 9], 3)], 1),
    ],
    ids=['nothing', 'all', 'other classes', 'too small', 'twice'],
)
def test_a_box_is_right_with_its_class_and_half_of_its_area(found, right):
    assert comparison._num_right(detections(*found), TRUTH) == right

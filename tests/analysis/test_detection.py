"""What detectors find, held against hand-made truth."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from torch import nn

from mmkd.analysis.boxes import differences, grad_cam
from mmkd.analysis.detection import count_errors, draw_errors, draw_precision, judge
from mmkd.analysis.study import Network, Study

BOXES = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], dtype=np.float32)
LABELS = np.array([3, 7])


@pytest.mark.parametrize(
    ('found', 'kinds'),
    [
        ([], ['missed', 'missed']),
        ([([0, 0, 10, 10], 3), ([20, 20, 40, 40], 7)], ['right', 'right']),
        ([([0, 0, 10, 10], 7), ([20, 20, 40, 40], 3)], ['class', 'class']),
        # 0.4 and 0.6 of the area.
        ([([0, 0, 10, 4], 3), ([20, 20, 40, 32], 7)], ['location', 'right']),
        ([([0, 0, 10, 4], 7)], ['class and location', 'missed', 'missed']),
        ([([0, 0, 10, 10], 3), ([0, 0, 10, 9], 3)], ['right', 'duplicate', 'missed']),
        ([([60, 60, 70, 70], 3)], ['background', 'missed', 'missed']),
        # Near by its class alone, and then right: it is not missed.
        ([([0, 0, 10, 10], 7), ([0, 0, 10, 9], 3)], ['class', 'right', 'missed']),
    ],
)
def test_every_box_and_every_missed_object_has_a_kind(found, kinds):
    boxes = np.array([box for box, _ in found], dtype=np.float32).reshape(-1, 4)
    labels = np.array([label for _, label in found])
    assert judge(boxes, labels, BOXES, LABELS) == kinds


def test_without_objects_all_is_background():
    assert judge(BOXES, LABELS, BOXES[:0], LABELS[:0]) == ['background', 'background']


def sample(*found):
    boxes = torch.tensor([box for box, _, _ in found], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([label for _, label, _ in found], dtype=torch.long)
    scores = torch.tensor([score for _, _, score in found])
    instances = InstanceData(bboxes=boxes, labels=labels, scores=scores)
    return SimpleNamespace(pred_instances=instances)


@pytest.fixture
def study():
    """Two images, of one object each; the student finds none of the second one."""
    first, second = [0, 0, 10, 10], [20, 20, 40, 40]
    truth = [dict(bbox=first, bbox_label=0), dict(bbox=second, bbox_label=1)]
    crowd = dict(bbox=[50, 50, 90, 90], bbox_label=1, ignore_flag=1)
    found = Study.__new__(Study)
    roles = dict(student='other', distilled='main')
    found.networks = [Network(name, nn.Linear(1, 1), role, 'k') for name, role in roles.items()]
    dataset = [dict(instances=[truth[0]]), dict(instances=[truth[1], crowd])]
    found.loader = SimpleNamespace(dataset=_Data(dataset))
    found.classes = ['a', 'b']
    found.__dict__['detections'] = dict(
        student=[sample((first, 0, 0.9)), sample((second, 1, 0.2), (second, 0, 0.8))],
        # A lower score second, though it comes first.
        distilled=[sample((first, 1, 0.5), (first, 0, 0.9)), sample((second, 1, 0.9))],
    )
    return found


class _Data(list):
    def get_data_info(self, index):
        return self[index]


def test_errors_are_counted_over_all_images_from_a_score_on(study):
    counts = count_errors(study)
    assert {k: v for k, v in counts['student'].items() if v} == {'right': 1, 'class': 1}
    assert {k: v for k, v in counts['distilled'].items() if v} == {'right': 2, 'class': 1}
    picture = draw_errors(study)
    heights = [bar.get_height() for bar in picture.figure.axes[0].patches]
    assert heights[:2] == [1, 1]
    assert heights[7:9] == [2, 1]


def test_images_are_chosen_by_the_difference_of_what_is_right(study):
    assert differences(study, 1).tolist() == [1]
    del study.networks[0]
    # Alone, by what is wrong: nothing is, so in their order.
    assert differences(study, 2).tolist() == [0, 1]


def test_precision_is_drawn_by_iou_size_and_class(study):
    keys = ('bbox_mAP', 'bbox_mAP_50', 'bbox_mAP_s', 'bbox_mAP_m', 'a_precision', 'b_precision')
    values = dict(student=(0.3, 0.5, 0.3, -1, 0.4, 0.2), distilled=(0.4, 0.6, 0.4, -1, 0.3, 0.5))
    study.__dict__['metrics'] = {
        name: {f'coco/{key}': value for key, value in zip(keys, row, strict=True)}
        for name, row in values.items()
    }
    picture = draw_precision(study)
    left, right = picture.figure.axes
    assert [tick.get_text() for tick in left.get_xticklabels()] == ['AP', 'AP50', 'small']
    # From what is gained to what is lost.
    assert [tick.get_text() for tick in right.get_xticklabels()] == ['b', 'a']
    assert [bar.get_height() for bar in right.patches] == pytest.approx([20, 40, 50, 30])
    assert 'gains most on class b (+30.0 points over student)' in picture.caption


def test_another_metric_has_no_ap_to_draw(study):
    study.__dict__['metrics'] = dict(student={'pascal_voc/mAP': 0.3}, distilled={'mAP': 0.5})
    with pytest.raises(ValueError, match="no CocoMetric with metric='bbox'"):
        draw_precision(study)


class Scale(nn.Module):
    """A block with a part."""

    def __init__(self):
        super().__init__()
        self.part = nn.Conv2d(3, 3, 1)
        nn.init.dirac_(self.part.weight)
        nn.init.zeros_(self.part.bias)

    def forward(self, x):
        return self.part(x)


class Bright(nn.Module):
    """A detector that finds one box, as surely as the image is bright in its first channel."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(Scale())
        self.data_preprocessor = lambda batch, training: dict(batch)

    def extract_feat(self, inputs):
        return self.backbone(inputs)

    def forward(self, inputs, data_samples, mode):
        maps = self.extract_feat(inputs)
        scores = maps[:, :1].mean(dim=(2, 3))
        return [SimpleNamespace(pred_instances=InstanceData(scores=score)) for score in scores]


def test_grad_cam_points_to_what_raises_the_scores():
    pytest.importorskip('pytorch_grad_cam')
    network = Network('bright', Bright(), 'main', 'k')
    image = torch.zeros(1, 3, 16, 16)
    image[:, 0, :, :8], image[:, 1, :, 8:] = 1, 5
    (heat,) = grad_cam(network, dict(inputs=image, data_samples=[None]))
    assert heat[:, :6].min() > 0.9
    assert heat[:, 10:].max() < 0.1

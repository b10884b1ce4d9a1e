"""What detectors find, held against hand-made truth."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.colors import same_color
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from pycocotools import mask as rle
from torch import nn

from mmkd.analysis.boxes import cam, differences, draw_detector_cam, draw_differences
from mmkd.analysis.detection import count_errors, draw_errors, draw_precision, judge
from mmkd.analysis.report import findings
from mmkd.analysis.study import Network, Study
from mmkd.registry import MODELS

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
    judgement = judge(boxes, labels, BOXES, LABELS)
    assert judgement.kinds + ['missed'] * len(judgement.missed) == kinds
    assert len(judgement.right) == kinds.count('right')


def test_without_objects_all_is_background():
    judgement = judge(BOXES, LABELS, BOXES[:0], LABELS[:0])
    assert judgement.kinds == ['background', 'background']
    assert not judgement.right | judgement.missed


def sample(*found):
    boxes = torch.tensor([box for box, _, _ in found], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([label for _, label, _ in found], dtype=torch.long)
    scores = torch.tensor([score for _, _, score in found])
    instances = InstanceData(bboxes=boxes, labels=labels, scores=scores)
    return SimpleNamespace(pred_instances=instances)


class Images(list):
    """Black images, 20 wide and 16 high, that are enlarged twofold; white where an object is."""

    def get_data_info(self, index):
        return self[index]

    def __getitem__(self, index):
        info = list.__getitem__(self, index)
        image = torch.zeros(3, 32, 40, dtype=torch.uint8)
        for instance in info['instances']:
            x1, y1, x2, y2 = (2 * edge for edge in instance['bbox'])
            image[:, y1:y2, x1:x2] = 255
        shape = dict(img_shape=(32, 40), ori_shape=(16, 20), scale_factor=(2.0, 2.0))
        return dict(info, inputs=image, data_samples=DetDataSample(metainfo=shape))


class Spots(nn.Module):
    """A detector that finds a box, as surely as its half is bright in a channel, and a dark one.

    It detaches what it predicts, as mmdet's dense heads do.
    """

    with_neck = False

    def __init__(self, has_gradient=True):
        super().__init__()
        self.has_gradient = has_gradient
        self.backbone = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.dirac_(self.backbone.weight)
        self.data_preprocessor = DetDataPreprocessor([0] * 3, [1] * 3, pad_size_divisor=32)

    def forward(self, inputs, data_samples, mode):
        (maps,) = self.extract_feat(inputs)
        half = maps.shape[3] // 2
        evidence = [maps[:, 0, :, :half], maps[:, 1, :, half:], maps[:, 2] - 5]
        scores = torch.stack([e.mean(dim=(1, 2)) for e in evidence], dim=1).sigmoid().detach()
        if not self.has_gradient:
            scores = torch.tensor(scores.tolist())
        return [SimpleNamespace(pred_instances=InstanceData(scores=each)) for each in scores]

    def extract_feat(self, inputs):
        return (self.backbone(inputs),)


@pytest.fixture
def study():
    """Two images, of one object each; the student finds none of the second one."""
    first, second, crowd = [0, 0, 4, 4], [10, 4, 16, 10], [0, 8, 8, 16]
    truth = [dict(bbox=first, bbox_label=0), dict(bbox=second, bbox_label=1)]
    ignored = dict(bbox=crowd, bbox_label=1, ignore_flag=1)
    found = Study.__new__(Study)
    roles = dict(student='other', distilled='main')
    colors = dict(student='r', distilled='b')
    found.networks = [Network(name, Spots(), role, colors[name]) for name, role in roles.items()]
    dataset = [dict(instances=[truth[0]]), dict(instances=[truth[1], ignored])]
    found.loader = SimpleNamespace(dataset=Images(dataset))
    found.classes = ['a', 'b']
    found.__dict__['detections'] = dict(
        student=[sample((first, 0, 0.9)), sample((second, 1, 0.2), (second, 0, 0.8))],
        # A lower score second, though it comes first; in the crowd, a box of its class and another.
        distilled=[
            sample((first, 1, 0.5), (first, 0, 0.9)),
            sample((second, 1, 0.9), ([0, 8, 3, 11], 1, 0.8), ([4, 12, 8, 16], 0, 0.7)),
        ],
    )
    return found


def test_errors_are_counted_over_all_images_from_a_score_on(study):
    counts = count_errors(study)
    assert {k: v for k, v in counts['student'].items() if v} == {'right': 1, 'class': 1}
    # What lies in a crowd of its class is no error.
    expected = {'right': 2, 'class': 1, 'background': 1}
    assert {k: v for k, v in counts['distilled'].items() if v} == expected
    picture = draw_errors(study)
    (axes,) = picture.figure.axes
    assert [bar.get_height() for bar in axes.patches[:2]] == [1, 1]
    assert [bar.get_height() for bar in axes.patches[7:9]] == [2, 1]
    assert [text.get_text() for text in axes.texts] == ['+1', '+0', '+0', '+0', '+0', '+1', '+0']
    assert '2 of distilled against 1 are "right"' in picture.caption


def test_images_are_chosen_by_what_one_alone_is_right_about(study):
    assert differences(study, 1).tolist() == [1]
    # One object each, and another one: as many are right, and yet they differ.
    both = [dict(bbox=[0, 0, 4, 4], bbox_label=0), dict(bbox=[10, 4, 16, 10], bbox_label=1)]
    study.loader.dataset.append(dict(instances=both))
    study.detections['student'].append(sample(([0, 0, 4, 4], 0, 0.9)))
    study.detections['distilled'].append(sample(([10, 4, 16, 10], 1, 0.9)))
    assert differences(study, 3).tolist() == [2, 1, 0]
    del study.networks[0]
    # Alone, by what it is not right about.
    assert differences(study, 3).tolist() == [2, 0, 1]


def rectangles(axes):
    return {
        tuple(np.round([*p.get_xy(), p.get_width(), p.get_height()]).tolist()): p.get_edgecolor()
        for p in axes.patches
    }


@pytest.mark.parametrize('draw', [draw_differences, draw_detector_cam])
def test_boxes_lie_on_their_objects_and_say_what_is_right(draw, study):
    study.detections['student'][1] = sample(([0, 0, 3, 3], 0, 0.9))
    picture = draw(study, num_images=1)
    assert picture.data == dict(images=[1])
    truth, student, distilled = picture.figure.axes
    # Without padding to 32x64, and enlarged to a height of 160: ten times the image's own size.
    shown = truth.images[0].get_array()
    assert shown.shape == (160, 200, 3)
    assert shown[40:100, 100:160].min() == 255
    assert shown[:, 165:].max() == 0
    assert list(rectangles(truth)) == [(100, 40, 60, 60)]
    missed, wrong = rectangles(student).items()
    assert missed[0] == (100, 40, 60, 60)
    assert same_color(missed[1], 'white')
    assert wrong[0] == (0, 0, 30, 30)
    assert same_color(wrong[1], 'red')
    assert same_color(rectangles(distilled)[(100, 40, 60, 60)], 'limegreen')
    assert [text.get_text() for text in distilled.texts] == ['a 0.70', 'b 0.90']
    assert [axes.get_title() for axes in (student, distilled)] == [
        'student: 0 of 1, 1 wrong',
        'distilled: 1 of 1, 1 wrong',
    ]


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
    assert [text.get_text() for text in right.texts] == ['+30.0', '-10.0']
    assert 'gains most on class b (+30.0 points over student)' in picture.caption


def test_another_metric_has_no_ap_to_draw(study):
    study.__dict__['metrics'] = dict(student={'pascal_voc/mAP': 0.3}, distilled={'mAP': 0.5})
    with pytest.raises(ValueError, match="no CocoMetric with metric='bbox'"):
        draw_precision(study)


class Masks(nn.Module):
    """A detector that finds one box in each image, with a mask."""

    def __init__(self):
        super().__init__()
        self.seen = 0
        self.data_preprocessor = lambda batch, training: batch

    def forward(self, inputs, mode):
        self.seen += len(inputs)
        instances = InstanceData(scores=torch.ones(1), masks=torch.ones(1, 4, 6, dtype=torch.bool))
        return [DetDataSample(pred_instances=instances) for _ in inputs]


def test_predictions_of_all_images_hold_neither_images_nor_masks(study):
    study.cfg = Config()
    study.networks = [Network(n.name, Masks(), n.role, n.color) for n in study.networks]

    def batches():
        for index in range(3):
            # One batch at a time: each network has seen those before.
            assert [n.model.seen for n in study.networks] == [2 * index] * 2
            yield dict(inputs=[torch.zeros(3, 4, 6)] * 2)

    study.loader = batches()
    del study.__dict__['detections']
    for samples in study.detections.values():
        assert len(samples) == 6
        for found in samples:
            (mask,) = found.pred_instances.masks
            assert rle.decode(mask).sum() == 24


def test_the_finding_is_ap_of_all_classes(study):
    # As CocoMetric says it, classes first.
    keys = ('coco/a_precision', 'coco/bbox_mAP')
    values = dict(student=(0.4, 0.2), distilled=(0.3, 0.5))
    study.__dict__['metrics'] = {n: dict(zip(keys, v, strict=True)) for n, v in values.items()}
    assert findings(study) == 'coco/bbox_mAP: 0.500 of distilled against 0.200 of student.'


def slow_ap(images, threshold, label, least=0.0, most=np.inf):
    """AP of a class at an IoU, with objects of an area in a range; nan if there are none."""

    def area(box):
        return (box[2] - box[0]) * (box[3] - box[1])

    def iou(a, b):
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        shared = max(width, 0) * max(height, 0)
        return shared / (area(a) + area(b) - shared)

    hits, count = [], 0
    for truth, found in images:
        objects = [box for box, kind in truth if kind == label]
        # Objects of another size may be found or not: they are tried last, and neither counts.
        objects.sort(key=lambda box: not least <= area(box) < most)
        count += sum(least <= area(box) < most for box in objects)
        taken = set()
        for box, kind, score in sorted(found, key=lambda item: -item[2]):
            if kind != label:
                continue
            best = None
            for index, other in enumerate(objects):
                in_range = least <= area(other) < most
                if index in taken or iou(box, other) < threshold:
                    continue
                if best is not None and not in_range and least <= area(objects[best]) < most:
                    continue
                if best is None or iou(box, other) > iou(box, objects[best]):
                    best = index
            if best is not None:
                taken.add(best)
                if least <= area(objects[best]) < most:
                    hits.append((score, True))
            elif least <= area(box) < most:
                hits.append((score, False))
    if not count:
        return np.nan
    hits.sort(key=lambda item: -item[0])
    points = []
    for index in range(len(hits)):
        right = sum(hit for _, hit in hits[: index + 1])
        points.append((right / count, right / (index + 1)))
    levels = np.linspace(0, 1, 101)
    best = [max((p for r, p in points if r >= level), default=0) for level in levels]
    return np.mean(best)


def test_precision_is_what_a_slow_count_gives(study):
    generator = np.random.default_rng(0)
    images = dict(student=[], distilled=[])
    for _ in range(8):
        corners, sizes = generator.uniform(0, 200, (6, 2)), generator.uniform(15, 140, (6, 2))
        boxes = np.concatenate([corners, corners + sizes], axis=1)
        labels = generator.integers(0, 2, 6)
        truth = [(box.tolist(), int(i)) for box, i in zip(boxes, labels, strict=True)]
        for name, noise in (('student', 12), ('distilled', 5)):
            found = []
            for box, label in [*truth, *truth[:3]]:
                near = (np.array(box) + generator.normal(0, noise, 4)).astype(np.float32)
                label = label if generator.random() < 0.8 else 1 - label
                found.append((near.tolist(), label, float(np.float32(generator.random()))))
            images[name].append((truth, found))
    study.cfg = Config(dict(test_evaluator=dict(type='mmdet.CocoMetric', metric='bbox')))
    study.loader.dataset = Named([None] * 8)
    study.__dict__['detections'] = {
        name: [
            DetDataSample(
                metainfo=dict(
                    img_id=index,
                    ori_shape=(400, 400),
                    instances=[dict(bbox=box, bbox_label=label) for box, label in truth],
                ),
                pred_instances=sample(*found).pred_instances,
            )
            for index, (truth, found) in enumerate(some)
        ]
        for name, some in images.items()
    }
    data = draw_precision(study).data
    thresholds = np.arange(0.5, 1, 0.05).round(2)
    for name, some in images.items():

        def ap(thresholds, labels=(0, 1), some=some, **sizes):
            return np.nanmean([slow_ap(some, t, k, **sizes) for t in thresholds for k in labels])

        expected = dict(
            bbox_mAP=ap(thresholds),
            bbox_mAP_50=ap([0.5]),
            bbox_mAP_75=ap([0.75]),
            bbox_mAP_s=ap(thresholds, most=32**2),
            bbox_mAP_m=ap(thresholds, least=32**2, most=96**2),
            bbox_mAP_l=ap(thresholds, least=96**2),
            a_precision=ap(thresholds, [0]),
            b_precision=ap(thresholds, [1]),
        )
        # CocoMetric rounds to a thousandth.
        assert data[name] == pytest.approx(expected, abs=6e-4), name
    assert data['distilled']['bbox_mAP'] > data['student']['bbox_mAP'] + 0.1


class Named(list):
    metainfo = dict(classes=('a', 'b'))


def test_the_map_shows_the_evidence_for_all_that_is_found():
    network = Network('spots', Spots(), 'main', 'k')
    image = torch.zeros(3, 32, 32)
    # The third box is not found, however bright its channel.
    image[0, :, :16], image[1, :, 16:], image[2, 16:] = 1, 2, 4
    batch = dict(inputs=[image], data_samples=[DetDataSample()])
    (heat,) = cam(network, batch)
    assert heat[:, :16] == pytest.approx(np.full((32, 16), 0.5))
    assert heat[:, 16:] == pytest.approx(np.ones((32, 16)))
    (heat,) = cam(network, dict(batch, inputs=[image - 5]))
    assert not heat.any()


def test_scores_without_gradient_are_refused():
    network = Network('spots', Spots(has_gradient=False), 'main', 'k')
    batch = dict(inputs=[torch.ones(3, 32, 32)], data_samples=[DetDataSample()])
    with pytest.raises(ValueError, match='scores that spots predicts have no gradient'):
        cam(network, batch)


def dense(cfg):
    """A RetinaNet of the parts of a Faster R-CNN."""
    head = dict(
        type='RetinaHead',
        num_classes=3,
        in_channels=8,
        feat_channels=8,
        stacked_convs=1,
        anchor_generator=cfg.rpn_head.anchor_generator,
    )
    rest = dict(neck=cfg.neck, data_preprocessor=cfg.data_preprocessor, test_cfg=cfg.test_cfg.rcnn)
    rest['test_cfg'].nms_pre = 100
    return dict(type='RetinaNet', backbone=cfg.backbone, bbox_head=head, **rest)


@pytest.mark.parametrize('kind', ['one stage', 'two stages'])
def test_detectors_of_mmdet_have_a_map(kind, detector, scene_batch):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(dense(detector) if kind == 'one stage' else detector)
    if kind == 'one stage':
        nn.init.zeros_(model.bbox_head.retina_cls.bias)
    else:
        nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight)
    heat = cam(Network(kind, model, 'main', 'k'), scene_batch())
    assert heat.shape == (2, 96, 128)
    assert heat.min() == 0
    assert heat.max(axis=(1, 2)) == pytest.approx([1, 1])
    assert all(parameter.grad is None for parameter in model.parameters())

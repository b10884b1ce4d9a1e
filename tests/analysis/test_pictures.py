"""Pictures of classifiers say what the networks do."""

import numpy as np
import pytest
import torch
from mmpretrain.models import ImageClassifier
from torch import nn

from mmkd.analysis.calibration import draw_calibration
from mmkd.analysis.classes import confusion, draw_classes
from mmkd.analysis.embeddings import draw_embeddings, embed
from mmkd.analysis.examples import _target, disagreements, draw_cam, grad_cam, maps
from mmkd.analysis.similarity import draw_similarity
from mmkd.analysis.study import Network, Outputs, Study


class Corners(nn.Module):
    """A backbone whose two channels are the brightness of a place, for one class each."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(nn.Sequential(), Half())

    def forward(self, x):
        return (self.blocks(x),)


class Half(nn.Module):
    """One channel sees the left half, the other one the right half."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x):
        left, right = x.mean(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)
        half = x.shape[3] // 2
        left = torch.cat([left[..., :half], 0 * left[..., half:]], dim=3)
        right = torch.cat([0 * right[..., :half], right[..., half:]], dim=3)
        return self.act(torch.cat([left, right], dim=1))


@pytest.fixture
def halves():
    """A classifier: class 0 if the left half is bright, class 1 if the right one is."""
    model = ImageClassifier(
        backbone=Corners(),
        neck=dict(type='GlobalAveragePooling', _scope_='mmpretrain'),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=2, _scope_='mmpretrain'),
        data_preprocessor=dict(type='ClsDataPreprocessor', _scope_='mmpretrain'),
    )
    nn.init.eye_(model.head.fc.weight)
    nn.init.zeros_(model.head.fc.bias)
    return Network('halves', model, 'main', 'k')


def test_grad_cam_points_to_what_speaks_for_a_class(halves):
    pytest.importorskip('pytorch_grad_cam')
    image = torch.ones(3, 16, 16)
    batch = dict(inputs=[image, image])
    left, right = grad_cam(halves, batch, [0, 1])
    assert left.shape == (16, 16)
    assert left[:, :6].min() > 0.9
    assert left[:, 10:].max() < 0.1
    assert np.allclose(right, left[:, ::-1], atol=1e-5)


def test_maps_are_the_last_of_each_size_but_the_least(halves):
    batch = dict(inputs=[torch.ones(3, 16, 16)])
    assert list(maps(halves, batch)) == ['backbone.blocks.1']
    assert _target(halves, batch) == ('backbone.blocks.1', None)


def study_of(networks, outputs, labels, classes=('a', 'b', 'c')):
    """A study of given outputs."""
    study = object.__new__(Study)
    study.networks, study.classes = networks, list(classes)
    study.__dict__['_run'] = (outputs, torch.tensor(labels))
    return study


def said(*classes):
    """Logits of who says these classes."""
    return Outputs(5 * torch.eye(3)[list(classes)], torch.eye(3)[list(classes)])


@pytest.fixture
def pair():
    networks = [
        Network(n, nn.Linear(1, 1), r, 'k') for n, r in [('alone', 'other'), ('kd', 'main')]
    ]
    # Class b is never right alone, and class c loses one of two.
    outputs = dict(alone=said(0, 0, 0, 0, 2, 2), kd=said(0, 0, 1, 1, 2, 1))
    return study_of(networks, outputs, [0, 0, 1, 1, 2, 2])


def test_confusion_counts_rows_of_classes_in_columns_of_guesses():
    logits = said(0, 1, 1).logits
    assert confusion(logits, torch.tensor([0, 0, 1])).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_classes_are_from_what_is_gained_to_what_is_lost(pair):
    picture = draw_classes(pair)
    assert picture.data['accuracy'] == dict(alone=[100, 0, 100], kd=[100, 100, 50])
    bars, table = picture.figure.axes[:2]
    assert [tick.get_text() for tick in bars.get_xticklabels()] == ['b', 'a', 'c']
    # b taken for b, a and c: two more, two less.
    assert table.images[0].get_array().tolist() == [[2, -2, 0], [0, 0, 0], [1, 0, -1]]
    assert 'gains most on class b (+100.0 points over alone)' in picture.caption
    assert 'b is taken for a 2 times by alone and 0 times by kd' in picture.caption


def test_classes_of_one_network_are_refused(pair):
    del pair.networks[0]
    with pytest.raises(ValueError, match='give one --with NAME CONFIG FILE'):
        draw_classes(pair)


def test_similarity_of_one_network_is_refused(pair):
    del pair.networks[0]
    with pytest.raises(ValueError, match='give another one --with NAME CONFIG FILE'):
        draw_similarity(pair)


@pytest.mark.parametrize('method', ['tsne', 'pca'])
def test_what_lies_together_is_drawn_together(method):
    generator = np.random.default_rng(0)
    vectors = np.concatenate([generator.normal(m, 0.1, (10, 5)) for m in (0, 4)]).astype('float32')
    points = embed(vectors, method)
    first, second = points[:10], points[10:]
    spread = max(first.std(axis=0).max(), second.std(axis=0).max())
    assert np.linalg.norm(first.mean(axis=0) - second.mean(axis=0)) > 3 * spread
    assert np.array_equal(points, embed(vectors, method))


def test_the_silhouette_says_who_separates_classes(pair):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(6, 3, generator=generator)
    truth = torch.eye(3)[[0, 0, 1, 1, 2, 2]]
    for name, scale in (('alone', 1.0), ('kd', 0.1)):
        pair.outputs[name].vectors = truth + scale * noise
    picture = draw_embeddings(pair, method='pca', num_classes=2)
    assert picture.data['images'] == 4
    assert picture.data['silhouette']['kd'] > picture.data['silhouette']['alone']
    assert 'kd separates them best' in picture.caption


def test_a_network_without_a_head_has_what_needs_none(pair):
    for name in pair.outputs:
        pair.outputs[name].logits = None
    assert pair.scored == []
    assert disagreements(pair, 2).tolist() == [0, 1]
    assert 'silhouette' in draw_embeddings(pair, method='pca').data
    for draw in (draw_calibration, draw_classes, draw_cam):
        with pytest.raises(ValueError, match=r'no head|another network'):
            draw(pair)

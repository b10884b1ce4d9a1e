"""Gradient accumulation: equal to the large batch where a loss is a mean over samples."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from mmkd.registry import MODELS

TERMS = dict(
    kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=4.0),
    hint=dict(type='HintLoss', student='backbone.layer1', teacher='backbone.layer1'),
)


@pytest.fixture
def train(classifier, save_teacher, image_batch):
    """``train(terms, counts)``: weights after two updates by 8 images, in so many steps each."""
    # Statistics of a batch are those of its images.
    classifier.backbone.norm_eval = True
    teacher = save_teacher(copy.deepcopy(classifier))

    def train(terms, counts):
        torch.manual_seed(0)
        model = MODELS.build(
            dict(
                type='mmkd.OfflineDistiller',
                student=copy.deepcopy(classifier),
                teacher=teacher,
                losses=copy.deepcopy(terms),
            )
        )
        model.train()
        optimizer = dict(type='SGD', lr=0.1, momentum=0.9)
        cfg = dict(optimizer=optimizer, accumulative_counts=counts)
        optim_wrapper = build_optim_wrapper(model, cfg)
        optim_wrapper.initialize_count_status(model, 0, 2 * counts)
        joint = image_batch(16)
        size = 8 // counts
        for start in range(0, 16, size):
            model.train_step({k: v[start : start + size] for k, v in joint.items()}, optim_wrapper)
        return model.state_dict()

    return train


def difference(one, other):
    return max((one[name] - value).abs().max().item() for name, value in other.items())


@pytest.mark.parametrize('counts', [2, 4])
def test_it_equals_the_large_batch(train, counts):
    assert difference(train(TERMS, counts), train(TERMS, 1)) < 1e-6


@pytest.mark.parametrize('kind', ['SimilarityPreservingLoss', 'PKTLoss', 'RKDLoss'])
def test_it_does_not_where_a_loss_compares_samples(train, kind):
    """Each step sees its own images alone."""
    terms = dict(relation=dict(type=kind, student='neck', teacher='neck', loss_weight=10.0))
    assert difference(train(terms, 2), train(terms, 1)) > 1e-5

"""Which losses of a batch are means over its images, as docs/scaling.md says."""

from pathlib import Path

import pytest
import torch
from terms import TERMS, build, labels
from torch.nn.modules.batchnorm import _BatchNorm

PAGE = Path(__file__).parents[2] / 'docs' / 'scaling.md'
#: Others compare images, count over the batch, or go on from the last step.
NO_MEANS = {
    'CRDLoss',
    'CorrelationCongruenceLoss',
    'DISTLoss',
    'FGFILoss',
    'LDLoss',
    'OFDLoss',
    'PKDLoss',
    'PKTLoss',
    'QualityFocalKDLoss',
    'RKDLoss',
    'SimilarityPreservingLoss',
}


def half(value, index):
    if isinstance(value, torch.Tensor):
        return value.chunk(2)[index]
    return [half(item, index) for item in value]


def half_of_samples(samples, index):
    size = len(samples) // 2
    return samples[index * size :][:size]


def value_of(name, sides, samples):
    """A loss of its first step in training, with fixed statistics and the same random numbers."""
    loss = build(name)
    for module in loss.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    # A mask for each image.
    torch.manual_seed(0)
    return loss(*sides, samples).item()


@pytest.mark.parametrize('name', sorted(TERMS.keys() - {'MGDLoss'}))
def test_a_loss_is_a_mean_over_images_or_named(name, dense_batch):
    """MGD is, and draws another mask."""
    _, sides, kind = TERMS[name]
    samples = dict(images=labels(), scenes=dense_batch).get(kind)
    parts = [
        value_of(name, half(sides, i), samples and half_of_samples(samples, i)) for i in range(2)
    ]
    joint = value_of(name, sides, samples)
    is_mean = sum(parts) / 2 == pytest.approx(joint, rel=1e-5)
    assert is_mean == (name not in NO_MEANS)


def test_the_page_names_them():
    text = PAGE.read_text()
    assert all(f'`{name}`' in text for name in NO_MEANS)

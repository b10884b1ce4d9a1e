"""Confidence against accuracy."""

import pytest
import torch

from mmkd.analysis.calibration import expected_calibration_error, reliability, scores


def slow_error(logits, labels, num_bins):
    """By the paper's equation, image by image."""
    total = 0.0
    for index in range(num_bins):
        members = []
        for row, label in zip(logits.double().softmax(1), labels, strict=True):
            if index / num_bins < row.max() <= (index + 1) / num_bins:
                members.append((row.max().item(), float(row.argmax() == label)))
        if members:
            confidence, right = (
                sum(column) / len(members) for column in zip(*members, strict=True)
            )
            total += len(members) / len(labels) * abs(right - confidence)
    return total


@pytest.mark.parametrize('num_bins', [1, 10, 15])
def test_the_error_is_that_of_the_equation(num_bins):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(200, 5, generator=generator)
    labels = torch.randint(5, (200,), generator=generator)
    found = expected_calibration_error(reliability(logits, labels, num_bins))
    assert found == pytest.approx(slow_error(logits, labels, num_bins), abs=1e-9)


def test_who_is_as_sure_as_right_has_no_error():
    # Three of four are right at a confidence of 3/4.
    logits = torch.tensor([[0.75, 0.25]]).log().repeat(4, 1)
    labels = torch.tensor([0, 0, 0, 1])
    assert scores(logits, labels)['ece'] == pytest.approx(0, abs=1e-5)
    assert scores(logits, labels)['top1'] == 75
    # Scaled logits are surer, and nothing else.
    surer = scores(4 * logits, labels)
    assert surer['top1'] == 75
    assert surer['ece'] > 20
    assert surer['nll'] > scores(logits, labels)['nll']


def test_every_image_is_in_one_bin():
    # The least confidence of two classes, one between edges, and all of it.
    logits = torch.tensor([[0.5, 0.5], [0.25, 0.75], [1.0, 1e-30]]).log()
    bins = reliability(logits, torch.tensor([0, 1, 1]), 10)
    assert bins['count'].tolist() == [0, 0, 0, 0, 1, 0, 0, 1, 0, 1]
    assert bins['accuracy'][[4, 7, 9]].tolist() == [1, 1, 0]

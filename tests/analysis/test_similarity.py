"""Linear CKA."""

import pytest
import torch

from mmkd.analysis.similarity import linear_cka


def slow(first, second):
    """As the paper has it: the Hilbert-Schmidt independence criterion with linear kernels."""
    n = len(first)
    center = torch.eye(n) - torch.ones(n, n) / n

    def hsic(x, y):
        return torch.trace(x @ x.T @ center @ y @ y.T @ center) / (n - 1) ** 2

    return (hsic(first, second) / (hsic(first, first) * hsic(second, second)).sqrt()).item()


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(20, 7, generator=generator) + 3
    return first, first[:, :4] ** 2 + torch.randn(20, 4, generator=generator)


def test_it_is_the_normalised_independence_criterion(features):
    assert linear_cka(*features) == pytest.approx(slow(*features), abs=1e-5)


def test_it_does_not_see_rotation_scale_and_shift(features):
    first, second = features
    rotation, _ = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(1)))
    turned = 5 * first @ rotation + 2
    assert linear_cka(first, turned) == pytest.approx(1, abs=1e-6)
    assert linear_cka(turned, second) == pytest.approx(linear_cka(first, second), abs=1e-6)


def test_it_sees_other_linear_maps(features):
    first, _ = features
    assert linear_cka(first, first * torch.tensor([100.0, 1, 1, 1, 1, 1, 1])) < 0.9


def test_it_is_symmetric_and_0_for_a_constant(features):
    first, second = features
    assert linear_cka(first, second) == pytest.approx(linear_cka(second, first))
    assert linear_cka(first, torch.ones(20, 3)) == 0

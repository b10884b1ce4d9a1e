import pytest
import torch

from mmkd.losses.base import check_same_shape, fp32, paired


@fp32
def total(x, others=()):
    return sum([x.sum(), *(o.sum() for o in others)])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_compared_in_float32(dtype):
    x = torch.full((1000,), 100.0, dtype=dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = total(x, others=[x])
    assert result.dtype == torch.float32
    assert result == 200000  # beyond float16's 65504


def test_autocast_is_off_inside():
    @fp32
    def product(x):
        return x @ x

    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert product(torch.eye(3)).dtype == torch.float32


def test_float64_stays_for_gradcheck():
    assert total(torch.ones(3, dtype=torch.float64)).dtype == torch.float64


def test_different_numbers_of_levels_are_refused():
    with pytest.raises(ValueError, match='gives 2 tensor.*teacher tap 1'):
        paired([torch.ones(1), torch.ones(1)], torch.ones(1))


def test_message_names_both_shapes_and_the_fix():
    with pytest.raises(ValueError, match=r'\(1, 2\).*\(1, 3\).*do this'):
        check_same_shape(torch.ones(1, 2), torch.ones(1, 3), 'do this')

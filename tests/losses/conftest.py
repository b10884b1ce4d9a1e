"""Checks that every loss passes."""

import pytest
import torch


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=['bf16', 'fp16'])
def check_autocast(request):
    """Loss and gradients are finite for half precision features up to 1e4 under autocast."""

    def largest_is_1e4(feature):
        return (feature.detach() * 1e4 / feature.abs().max()).to(request.param)

    def check(loss, student, teacher, data_samples=None):
        student = [largest_is_1e4(s).requires_grad_() for s in student]
        teacher = [largest_is_1e4(t) for t in teacher]
        with torch.autocast('cpu', dtype=request.param):
            value = loss(student, teacher, data_samples)
        value.backward()
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert all(s.grad.isfinite().all() for s in student)

    return check

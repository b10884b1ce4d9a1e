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


@pytest.fixture
def dense_batch():
    """Data samples of two images of one batch: three boxes and an ignored one, and one box."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    def make(boxes, image, ignored=()):
        sample = DetDataSample(
            metainfo=dict(img_shape=image, pad_shape=image, batch_input_shape=(64, 96))
        )
        for key, value in (('gt_instances', boxes), ('ignored_instances', ignored)):
            value = torch.tensor(value, dtype=torch.float32).reshape(-1, 4)
            labels = torch.zeros(len(value), dtype=torch.long)
            setattr(sample, key, InstanceData(bboxes=value, labels=labels))
        return sample

    return [
        make([[3, 5, 40, 45], [50, 10, 90, 60], [70, 2, 95, 22]], (64, 96), [[0, 40, 40, 64]]),
        make([[20, 8, 60, 30]], (40, 80)),
    ]

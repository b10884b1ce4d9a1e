import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample

from mmkd.evaluation import OutputAccuracy


def sample(label, **outputs):
    data = DataSample().set_gt_label(label)
    data.set_field({k: torch.tensor(v) for k, v in outputs.items()}, 'outputs')
    return data


SAMPLES = [
    sample(0, exit1=[3.0, 2.0, 1.0], main=[3.0, 2.0, 1.0]),
    sample(1, exit1=[3.0, 2.0, 1.0], main=[1.0, 2.0, 3.0]),
    sample(2, exit1=[3.0, 2.0, 1.0], main=[1.0, 2.0, 3.0]),
]


@pytest.mark.parametrize('batches', [[3], [1, 2], [1, 1, 1]])
def test_accuracy_of_every_output_in_percent_over_all_batches(batches):
    evaluator = Evaluator(OutputAccuracy(topk=(1, 2)))
    rest = list(SAMPLES)
    for size in batches:
        evaluator.process(rest[:size])
        del rest[:size]
    third = 100 / 3
    assert evaluator.evaluate(3) == pytest.approx(
        {
            'accuracy/exit1_top1': third,
            'accuracy/exit1_top2': 2 * third,
            'accuracy/main_top1': 2 * third,
            'accuracy/main_top2': 100,
        }
    )


def test_predictions_of_a_plain_model_are_refused():
    evaluator = Evaluator(OutputAccuracy())
    with pytest.raises(ValueError, match="no `outputs`.*mmpretrain's Accuracy"):
        evaluator.process([DataSample().set_gt_label(0)])

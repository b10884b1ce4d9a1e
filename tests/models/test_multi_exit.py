"""Classifiers with exits: outputs, predictions, early exit."""

import copy

import pytest
import torch
import torch.nn.functional as F

from mmkd.models.early_exit import early_exit
from mmkd.registry import MODELS

EXIT = dict(tap='backbone.layer1', type='LCTExit', in_channels=4, channels=(8,))


def build(classifier, **kwargs):
    torch.manual_seed(0)
    kwargs.setdefault('exits', [EXIT, dict(EXIT, type='BottleneckExit')])
    cfg = dict(type='MultiExitClassifier', model=classifier, **kwargs)
    network = MODELS.build(copy.deepcopy(cfg)).eval()
    for run in network.exits:
        run.fc.weight.data.mul_(5)
    return network


@pytest.fixture
def network(classifier):
    return build(classifier)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    # Of different brightness, so that confidences differ.
    shifts = 5 * torch.randn(6, 3, 1, 1, generator=generator)
    return shifts + torch.randn(6, 3, 16, 16, generator=generator)


@torch.no_grad()
def test_outputs_are_those_of_the_parts(network, images):
    outputs = network.outputs(images)
    backbone = network.model.backbone
    x = F.relu(backbone.norm1(backbone.conv1(images)))
    x = backbone.layer1(x)
    for i, run in enumerate(network.exits):
        h = run.layers(x)
        assert torch.equal(outputs.features[i], h)
        assert torch.allclose(outputs.logits[i], run.fc(h.mean((2, 3))), atol=1e-6)
    assert torch.equal(outputs.logits[-1], network.model(images, mode='tensor'))
    assert torch.equal(outputs.features[-1], network.model.backbone(images)[-1])
    assert network.names == ['exit1', 'exit2', 'main']


@torch.no_grad()
def test_predictions_are_the_main_ones_with_all_outputs_beside(network, images):
    logits = network.outputs(images).logits
    plain = network.model(images, mode='predict')
    for n, (ours, theirs) in enumerate(zip(network(images, mode='predict'), plain, strict=True)):
        assert torch.equal(ours.pred_score, theirs.pred_score)
        assert list(ours.outputs) == ['exit1', 'exit2', 'main', 'ensemble']
        for name, z in zip(network.names, logits, strict=True):
            assert torch.equal(ours.outputs[name], z[n])
        total = logits[0][n] + logits[1][n] + logits[2][n]
        assert torch.allclose(ours.outputs['ensemble'], total)


def test_the_map_to_compare_can_be_another(classifier, images):
    network = build(classifier, feature_tap='backbone.layer1')
    assert network.outputs(images).features[-1].shape == (6, 4, 16, 16)


def test_construction_leaves_the_network_as_it_was(classifier):
    torch.manual_seed(0)
    alone = MODELS.build(copy.deepcopy(classifier)).state_dict()
    network = build(classifier)
    assert all(torch.equal(v, alone[k]) for k, v in network.model.state_dict().items())
    cfg = dict(type='MultiExitClassifier', model=classifier, exits=[EXIT])
    assert all(module.training for module in MODELS.build(cfg).modules())


class TestEarlyExit:
    @torch.no_grad()
    @pytest.mark.parametrize('thresholds', [(0.9, 0.35), (0.5, 2.0), (2.0, 0.3), (0.0, 0.0)])
    def test_each_sample_leaves_by_its_first_confident_exit(self, network, images, thresholds):
        logits = network.outputs(images).logits
        found, taken = early_exit(network, images, thresholds)
        for n in range(len(images)):
            expected = 2
            for index in (1, 0):
                if logits[index][n].softmax(dim=0).max() >= thresholds[index]:
                    expected = index
            assert taken[n] == expected
            assert torch.equal(found[n], logits[expected][n])

    @torch.no_grad()
    def test_samples_of_one_batch_leave_by_different_exits(self, network, images):
        """So that the test above has a choice to check."""
        assert early_exit(network, images, (0.9, 0.35))[1].unique().tolist() == [0, 1, 2]

    @torch.no_grad()
    def test_nothing_runs_behind_the_last_exit_taken(self, network, images):
        calls = []
        for name in ('backbone.layer1', 'backbone.layer2', 'head.fc'):
            network.model.get_submodule(name).register_forward_pre_hook(
                lambda *_, name=name: calls.append(name)
            )
        early_exit(network, images, (0.0, 0.0))
        assert calls == ['backbone.layer1']
        calls.clear()
        early_exit(network, images, (2.0, 2.0))
        assert calls == ['backbone.layer1', 'backbone.layer2', 'head.fc']

    @torch.no_grad()
    def test_prediction_with_a_threshold(self, classifier, network, images):
        exiting = build(classifier, threshold=[0.9, 0.35])
        logits, taken = early_exit(network, images, (0.9, 0.35))
        for n, sample in enumerate(exiting(images, mode='predict')):
            assert sample.exit == network.names[taken[n]]
            assert torch.equal(sample.pred_score, logits[n].softmax(dim=0))
            assert torch.equal(sample.outputs['early_exit'], logits[n])

    def test_hooks_are_gone_after_a_stop(self, network, images):
        early_exit(network, images, (0.0, 0.0))
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())

    def test_a_threshold_for_each_exit_or_one_for_all(self, classifier):
        assert build(classifier, threshold=0.5).threshold == [0.5, 0.5]
        with pytest.raises(ValueError, match=r'threshold=\[0.5\] for 2 exits'):
            build(classifier, threshold=[0.5])


class TestMistakesAreNamed:
    @pytest.mark.parametrize(
        ('change', 'error', 'message'),
        [
            (dict(tap='backbone.layer9'), ValueError, "no module 'backbone.layer9'.*layer1"),
            (dict(tap=None), ValueError, r'exits\[0\].tap is missing'),
            (dict(in_channels=5), ValueError, r'exits\[0\] \(LCTExit\).*\(2, 4, 64, 64\)'),
            (dict(tap='backbone.layer1.0.relu'), ValueError, r'exits\[0\].tap=.*runs 2 times'),
            (dict(tap='backbone.layer1.0.relu@-1'), ValueError, r'exits\[0\].tap=.*runs 2 times'),
            (dict(chanels=3), TypeError, r"exits\[0\].*'chanels'"),
        ],
    )
    def test_in_an_exit(self, classifier, change, error, message):
        with pytest.raises(error, match=message):
            build(classifier, exits=[{**EXIT, **change}])

    def test_in_the_order_of_the_exits(self, classifier):
        deep = dict(EXIT, tap='backbone.layer2', in_channels=8)
        with pytest.raises(ValueError, match='start at backbone.layer2, .*from shallow to deep'):
            build(classifier, exits=[deep, EXIT])

    def test_in_the_network(self, classifier):
        with pytest.raises(ValueError, match="no module 'nek'.*neck"):
            build(classifier, feature_tap='nek:input')
        classifier.head = dict(type='MultiLabelLinearClsHead', num_classes=5, in_channels=8)
        with pytest.raises(ValueError, match='head is a MultiLabelLinearClsHead.*LinearClsHead'):
            build(classifier)

    def test_training_without_a_distiller(self, network, images):
        with pytest.raises(ValueError, match="mode='loss'.*MultiExitDistiller"):
            network(images, mode='loss')

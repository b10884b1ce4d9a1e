"""Peers that are trained together."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner

from mmkd.distillers import MutualDistiller
from mmkd.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def networks(classifier):
    """Two different classifiers with two exits each."""
    other = copy.deepcopy(classifier)
    other.backbone.update(base_channels=6, stem_channels=6)
    other.head.in_channels = 12

    def exits(width):
        return [
            dict(tap='backbone.layer1', type='mmkd.ResNetExit', in_channels=width, stages=stages)
            for stages in ([(2 * width, 1, 2)], [(3 * width, 1, 2)])
        ]

    return [dict(model=classifier, exits=exits(4)), dict(model=other, exits=exits(6))]


@pytest.fixture
def objective():
    return dict(type='DCMLoss', alpha=0.5, beta=2.0, gamma=3.0)


def build(networks, objective, seed=0):
    torch.manual_seed(seed)
    return MutualDistiller(networks=networks, objective=objective)


def total(losses, name=''):
    return sum(value for key, value in losses.items() if key.startswith(f'loss_{name}'))


def test_every_network_learns_from_labels_and_from_its_peer(networks, objective, image_batch):
    model = build(networks, objective).eval()
    batch = model.data_preprocessor(image_batch(), True)
    losses = model(**batch, mode='loss')
    labels = torch.cat([sample.gt_label for sample in batch['data_samples']])
    logits = [network.outputs(batch['inputs']).logits for network in model.networks]
    for own, (net, peer) in enumerate([(0, 1), (1, 0)], 1):
        plain = model.networks[net].model(**batch, mode='loss')['loss']
        assert losses[f'loss_net{own}_cls'].item() == pytest.approx(plain.item(), rel=1e-5)
        *exits, _ = (F.cross_entropy(z, labels) for z in logits[net])
        assert losses[f'loss_net{own}_exits'].item() == pytest.approx(0.5 * sum(exits).item())
        same = cross = 0.0
        for i, target in enumerate(logits[peer]):
            for j, source in enumerate(logits[net]):
                p, q = target.softmax(dim=1), source.softmax(dim=1)
                term = (p * (p / q).log()).sum(dim=1).mean().item()
                same, cross = (same + term, cross) if i == j else (same, cross + term)
        assert losses[f'loss_net{own}_same_stage'].item() == pytest.approx(2 * same, rel=1e-4)
        assert losses[f'loss_net{own}_cross_stage'].item() == pytest.approx(3 * cross, rel=1e-4)
    assert len(losses) == 8


def test_every_network_is_classified_by_its_own_head(networks, objective, image_batch):
    kinds = ('cls', 'exits')
    found = []
    for weights in ((1.0, 1.0), (3.0, 0.5)):
        for network, weight in zip(networks, weights, strict=True):
            network['model'].head.loss = dict(type='CrossEntropyLoss', loss_weight=weight)
        model = build(networks, objective).eval()
        losses = model(**model.data_preprocessor(image_batch(), True), mode='loss')
        found.append([losses[f'loss_net{net}_{kind}'].item() for net in (1, 2) for kind in kinds])
    plain, weighted = found
    expected = [weight * loss for weight, loss in zip((3.0, 3.0, 0.5, 0.5), plain, strict=True)]
    assert weighted == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(('own', 'peer'), [(0, 1), (1, 0)])
def test_the_loss_of_a_network_gives_its_peer_no_gradient(
    networks, objective, image_batch, own, peer
):
    model = build(networks, objective).train()
    losses = model(**model.data_preprocessor(image_batch(), True), mode='loss')
    total(losses, f'net{own + 1}_').backward()
    assert all(p.grad is None for p in model.networks[peer].parameters())
    assert all(p.grad.abs().sum() > 0 for p in model.networks[own].exits.parameters())
    assert all(p.grad is not None for p in model.networks[own].parameters())


def test_one_step_moves_every_network_by_its_own_settings(networks, objective, image_batch):
    model = build(networks, objective).train()
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='SGD', lr=0.1, weight_decay=1e-2),
            paramwise_cfg=dict(custom_keys={'networks.1.': dict(lr_mult=0.5, decay_mult=0.1)}),
        ),
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batch = image_batch()
    reference = copy.deepcopy(model)
    total(reference(**reference.data_preprocessor(batch, True), mode='loss')).backward()
    model.train_step(batch, wrapper)
    grads = {name: p.grad for name, p in reference.named_parameters()}
    for name, p in model.named_parameters():
        lr, decay = (0.1, 1e-2) if name.startswith('networks.0.') else (0.05, 1e-3)
        expected = before[name] - lr * (grads[name] + decay * before[name])
        assert torch.allclose(p, expected, atol=1e-6), name
        assert not torch.equal(p, before[name]), name


def test_three_networks_learn_from_the_mean_of_two(networks, image_batch):
    networks = [dict(model=network['model']) for network in networks]
    networks.append(copy.deepcopy(networks[0]))
    model = build(networks, dict(type='DCMLoss')).eval()
    batch = model.data_preprocessor(image_batch(), True)
    losses = model(**batch, mode='loss')
    first, *peers = (network.outputs(batch['inputs']).logits[-1] for network in model.networks)
    terms = [
        F.kl_div(first.log_softmax(1), peer.softmax(1), reduction='batchmean') for peer in peers
    ]
    assert losses['loss_net1_same_stage'].item() == pytest.approx(sum(terms).item() / 2, rel=1e-4)
    assert {key[:9] for key in losses} == {'loss_net1', 'loss_net2', 'loss_net3'}


def test_every_output_is_reported_and_the_first_network_predicts(networks, objective, image_batch):
    model = build(networks, objective).eval()
    batch = model.data_preprocessor(image_batch(3))
    samples = model(**batch, mode='predict')
    logits = [network.model(batch['inputs']) for network in model.networks]
    for index, sample in enumerate(samples):
        assert set(sample.outputs) == {
            *('net1', 'net1_exit1', 'net1_exit2', 'net2', 'net2_exit1', 'net2_exit2', 'ensemble')
        }
        for name, z in zip(('net1', 'net2'), logits, strict=True):
            assert torch.allclose(sample.outputs[name], z[index])
        exit_logits = model.networks[1].outputs(batch['inputs']).logits[0]
        assert torch.allclose(sample.outputs['net2_exit1'], exit_logits[index])
        assert torch.allclose(sample.outputs['ensemble'], (logits[0] + logits[1])[index])
        assert torch.allclose(sample.pred_score, logits[0][index].softmax(dim=0))
    assert torch.equal(model(batch['inputs'], mode='tensor'), logits[0])


def test_the_student_is_the_first_network_and_held_once(networks, objective):
    model = build(networks, objective)
    plain = MODELS.build(networks[0]['model']).state_dict()
    prefix = 'networks.0.model.'
    found = [key.removeprefix(prefix) for key in model.state_dict() if key.startswith(prefix)]
    assert found == list(plain) == list(model.student.state_dict())
    assert {key.split('.')[0] for key in model.state_dict()} == {'networks'}


def test_equal_networks_start_from_different_weights(networks, objective):
    model = build([networks[0], networks[0]], objective)
    model.init_weights()
    first, second = (network.model.backbone.conv1.weight for network in model.networks)
    assert not torch.equal(first, second)
    # Torch's own initialisation has a bias.
    assert all(not aux.fc.bias.any() for network in model.networks for aux in network.exits)


def test_one_network_is_an_error(networks, objective):
    with pytest.raises(ValueError, match=r'model.networks has 1 network.*MultiExitDistiller'):
        build(networks[:1], objective)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [({}, r"=None, found beside it \['exits'"), (dict(model='resnet18.py'), "='resnet18.py'")],
)
def test_a_network_without_the_config_of_a_model_is_an_error(networks, objective, wrong, message):
    with pytest.raises(ValueError, match=r'model.networks\[1\].model' + message):
        build([networks[0], dict(exits=[], **wrong)], objective)


def test_a_network_that_cannot_run_is_named(networks, objective):
    networks[1]['model'].head.in_channels = 5
    with pytest.raises(ValueError, match=r'model.networks\[1\]: .*shapes'):
        build(networks, objective)


def test_an_objective_of_one_network_is_an_error(networks):
    with pytest.raises(TypeError, match=r'model.objective: BEEDLoss.*features'):
        build(networks, dict(type='BEEDLoss'))


def test_an_exit_that_does_not_fit_names_its_network(networks, objective):
    networks[1]['exits'][1]['in_channels'] = 5
    with pytest.raises(ValueError, match=r'model.networks\[1\]: exits\[1\] \(ResNetExit\)'):
        build(networks, objective)


@pytest.mark.parametrize('own', ['beside', 'inside'])
def test_networks_that_see_different_images_are_an_error(networks, objective, own):
    preprocessor = networks[0]['model'].data_preprocessor
    different = dict(preprocessor, mean=[0.0] * 3)
    if own == 'inside':
        networks[1]['model'].data_preprocessor = different
    else:
        for network, cfg in zip(networks, (preprocessor, different), strict=True):
            del network['model']['data_preprocessor']
            network['data_preprocessor'] = cfg
    with pytest.raises(ValueError, match=r'model.networks\[1\].model.data_preprocessor'):
        build(networks, objective)


def test_networks_with_different_classes_are_an_error(networks, objective):
    networks[1]['model'].head.num_classes = 4
    with pytest.raises(ValueError, match=r'model.objective: .* \[4, 4, 4\]\] classes'):
        build(networks, objective)


def test_an_unknown_argument_of_the_objective_is_an_error(networks):
    with pytest.raises(TypeError, match=r'model.objective.delta=1.0 is unknown'):
        build(networks, dict(type='DCMLoss', delta=1.0))


def test_the_data_preprocessor_of_the_config_is_everyones(networks, objective):
    preprocessor = networks[0]['model'].pop('data_preprocessor')
    networks[1]['model'].pop('data_preprocessor')
    model = MutualDistiller(networks, objective, data_preprocessor=preprocessor)
    assert model.data_preprocessor.mean.flatten().tolist() == [100.0] * 3
    for network in model.networks:
        assert torch.equal(network.model.data_preprocessor.mean, model.data_preprocessor.mean)


def test_two_processes_equal_one(networks, objective, image_batch, assert_equals_one_process):
    cfg = dict(type='mmkd.MutualDistiller', networks=networks, objective=objective)
    assert_equals_one_process([(cfg, image_batch(8), wrapper) for wrapper in ('ddp', 'fsdp')])


@pytest.fixture
def train(networks, objective, tmp_path):
    """Train on a few digits and return the runner."""

    def run(folder, **settings):
        cfg = Config.fromfile(CONFIGS / 'demo' / 'digits_student.py')
        for network in networks:
            network['model'].pop('data_preprocessor', None)
            network['model'].head.num_classes = 10
        cfg.model = dict(type='mmkd.MutualDistiller', networks=networks, objective=objective)
        for split in ('train', 'val', 'test'):
            cfg[f'{split}_dataloader'].dataset.indices = 32
            cfg[f'{split}_dataloader'].batch_size = 16
        cfg.val_evaluator = [dict(type='Accuracy'), dict(type='mmkd.OutputAccuracy')]
        cfg.merge_from_dict(
            {
                'train_cfg.max_epochs': 2,
                'default_hooks.checkpoint.max_keep_ckpts': -1,
                'randomness.seed': 0,
                'work_dir': str(tmp_path / folder),
                'experiment_name': folder,
                **settings,
            }
        )
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner

    return run


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(train, tmp_path):
    runner = train('whole')
    first = tmp_path / 'whole' / 'epoch_1.pth'
    train('resumed', load_from=str(first), resume=True)
    before, whole, resumed = (
        torch.load(path)['state_dict']
        for path in (
            first,
            tmp_path / 'whole' / 'epoch_2.pth',
            tmp_path / 'resumed' / 'epoch_2.pth',
        )
    )
    assert not (tmp_path / 'resumed' / 'epoch_1.pth').exists()
    assert whole.keys() == resumed.keys()
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
        if value.is_floating_point():
            assert not torch.equal(value, before[key]), key
    history = runner.message_hub.log_scalars
    assert {'train/loss_net1_cross_stage', 'train/loss_net2_exits'} <= history.keys()
    assert {'val/accuracy/net2_top1', 'val/accuracy/ensemble_top1'} <= history.keys()
    for index, name in enumerate(('student.pth', 'student2.pth')):
        published = torch.load(tmp_path / 'whole' / name)['state_dict']
        prefix = f'networks.{index}.model.'
        expected = {
            key.removeprefix(prefix): value
            for key, value in whole.items()
            if key.startswith(prefix)
        }
        assert published.keys() == expected.keys()
        assert all(torch.equal(published[key], value) for key, value in expected.items())

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmpretrain.evaluation import Accuracy
from torch import nn

from mmkd.distillers import ConnectionDistiller
from mmkd.distillers.connections import Connections
from mmkd.evaluation import OutputAccuracy
from mmkd.models.layers import DynamicAdditiveConv2d
from mmkd.publish import load_plain
from mmkd.registry import MODELS
from mmkd.taps import Taps

GENERATOR = dict(type='DynamicAdditiveConv2d', convs='backbone.layer?.*.conv?', num_kernels=3)
POINTS = ['backbone.layer1.*.conv?', 'backbone.layer1.*']
CONV = dict(type='ConvModule', kernel_size=1, act_cfg=None)
BOTH = ['student:head.fc', 'teacher:head.fc']


def distiller(student, generator=GENERATOR, connections=(), seed=0, **kwargs):
    if connections == ():
        connections = dict(points=POINTS, transform=CONV)
    torch.manual_seed(seed)
    return ConnectionDistiller(
        student=student, teacher_generator=generator, connections=connections, **kwargs
    )


@pytest.fixture
def model(classifier):
    return distiller(classifier)


@pytest.fixture
def batch(model, image_batch):
    return model.data_preprocessor(image_batch(), True)


def total(losses):
    return sum(value for key, value in losses.items() if 'loss' in key)


def has_gradient(module):
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


class TestGeneratedTeacher:
    def test_the_chosen_convolutions_and_nothing_else_are_replaced(self, model):
        ours, theirs = (dict(net.named_modules()) for net in (model.student, model.teacher))
        replaced = {n for n, m in theirs.items() if isinstance(m, DynamicAdditiveConv2d)}
        assert replaced == {
            f'backbone.layer{i}.{j}.conv{k}' for i in (1, 2) for j in (0, 1) for k in (1, 2)
        }
        assert all(type(theirs[name]) is type(ours[name]) for name in ours.keys() - replaced)
        assert all(name.startswith(tuple(replaced)) for name in theirs.keys() - ours.keys())

    def test_it_shares_no_weight_with_the_student(self, model):
        ours = {p.data_ptr() for p in model.student.parameters()}
        assert not ours & {p.data_ptr() for p in model.teacher.parameters()}

    def test_both_are_initialised_on_their_own_by_the_students_scheme(self, model):
        torch.manual_seed(0)
        model.init_weights()
        conv = model.student.backbone.layer2[1].conv1.weight
        kernels = [k.weight for k in model.teacher.backbone.layer2[1].conv1.kernels]
        for first, second in zip([conv, *kernels], kernels, strict=False):
            assert not torch.equal(first, second)
        # Kaiming, fan_out.
        std = (2 / (9 * 8)) ** 0.5
        assert all(w.std().item() == pytest.approx(std, rel=0.15) for w in [conv, *kernels])

    @pytest.mark.parametrize(
        ('backbone', 'channels', 'convs'),
        [
            (dict(type='mmkd.CIFARResNet', depth=8), 64, 'backbone.layer?.*.conv?'),
            (dict(type='mmkd.WideResNet', depth=10), 64, 'backbone.layer?.*.residual.conv?'),
            (dict(type='mmkd.PreActResNet', depth=11), 256, 'backbone.layer?.*.residual.conv2'),
            (
                dict(type='ResNet', depth=50, stem_channels=8, base_channels=4),
                128,
                'backbone.layer?.*.conv2',
            ),
            (
                dict(type='VGG', depth=11, norm_cfg=dict(type='BN')),
                512,
                'backbone.features.[02].conv',
            ),
        ],
        ids=lambda value: value['type'] if isinstance(value, dict) else '',
    )
    @pytest.mark.parametrize('layer', ['DynamicAdditiveConv2d', 'SEConv2d', 'CBAMConv2d'])
    def test_its_maps_have_the_students_shapes_at_every_convolution(
        self, classifier, backbone, channels, convs, layer
    ):
        classifier.backbone = ConfigDict(backbone)
        classifier.head.in_channels = channels
        model = distiller(classifier, dict(type=layer, convs=convs), connections=None).eval()
        names = [n for n, m in model.student.named_modules() if isinstance(m, nn.Conv2d)]
        assert len(names) > 5
        found = []
        for net in (model.student, model.teacher):
            with torch.no_grad(), Taps(net, names) as record:
                net(torch.randn(2, 3, 32, 32), mode='tensor')
            found.append([record[name].shape for name in names])
        assert found[0] == found[1]


@pytest.mark.parametrize(
    ('backbone', 'channels', 'convs', 'points'),
    [
        (
            dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
            64,
            'backbone.layer?.*.conv?',
            ['backbone.layer[12].*.conv?', 'backbone.layer[12].*'],
        ),
        (
            dict(type='MobileNetV2', widen_factor=0.25),
            1280,
            ['backbone.layer1.*.conv.0.conv', 'backbone.layer[2-7].*.conv.1.conv'],
            ['backbone.layer[23].*.conv.1.conv', 'backbone.layer[23].*'],
        ),
        # Its convolutions are overwritten by the ReLU behind them.
        (dict(type='VGG', depth=11), 512, 'backbone.features.*.conv', 'backbone.features.[0245]'),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else '',
)
def test_plain_backbones_train_by_the_names_of_their_convolutions(
    classifier, image_batch, backbone, channels, convs, points
):
    classifier.backbone = ConfigDict(backbone)
    classifier.head.in_channels = channels
    model = distiller(
        classifier, dict(GENERATOR, convs=convs), dict(points=points, transform=CONV)
    ).train()
    batch = model.data_preprocessor(image_batch(size=32), True)
    losses = model(**batch, mode='loss')
    losses['loss_teacher'].backward(retain_graph=True)
    assert all(has_gradient(model.student.get_submodule(point)) for point in model.points)
    losses['loss_student'].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    plain = MODELS.build(copy.deepcopy(classifier))
    load_plain(plain, model.state_dict(), 'the trained model')
    with torch.no_grad():
        logits = [net.eval()(batch['inputs']) for net in (plain, model)]
    assert torch.equal(*logits)


def block(module, x, added=None):
    """A basic block; ``added`` maps 'conv1', 'conv2' and '' to what is added there."""
    added = added or {}
    maps = {}
    maps['conv1'] = module.conv1(x) + added.get('conv1', 0)
    maps['conv2'] = module.conv2(module.bn1(maps['conv1']).relu()) + added.get('conv2', 0)
    identity = x if module.downsample is None else module.downsample(x)
    maps[''] = (module.bn2(maps['conv2']) + identity).relu() + added.get('', 0)
    return maps


def stem(net, x):
    return net.backbone.bn1(net.backbone.conv1(x)).relu()


def test_objective_is_both_cross_entropies_with_the_features_added(model, batch):
    model.eval()  # the same BatchNorm statistics for every forward below
    losses = model(**batch, mode='loss')
    transforms = dict(zip(model.connections.sources, model.connections.transforms, strict=True))
    ours, theirs = (stem(net, batch['inputs']) for net in (model.student, model.teacher))
    for i in range(2):
        maps = block(model.student.backbone.layer1[i], ours)
        added = {}
        for name, value in maps.items():
            (transform,) = transforms[f'backbone.layer1.{i}.{name}'.rstrip('.')]
            added[name] = transform(value)
        ours = maps['']
        theirs = block(model.teacher.backbone.layer1[i], theirs, added)['']
    labels = torch.tensor([sample.gt_label for sample in batch['data_samples']])
    assert losses.keys() == {'loss_student', 'loss_teacher'}
    for name, net, maps in (
        ('student', model.student, ours),
        ('teacher', model.teacher, theirs),
    ):
        logits = net.head.fc(net.backbone.layer2(maps).mean((2, 3)))
        expected = F.cross_entropy(logits, labels).item()
        assert losses[f'loss_{name}'].item() == pytest.approx(expected, rel=1e-5), name


class TestGradient:
    def test_of_the_teachers_loss_reaches_the_student_through_the_connections(self, model, batch):
        model(**batch, mode='loss')['loss_teacher'].backward()
        backbone = model.student.backbone
        for i in (0, 1):
            for conv in (backbone.layer1[i].conv1, backbone.layer1[i].conv2):
                assert conv.weight.grad.abs().sum() > 0
        # Behind the last connection there is no way back.
        assert not has_gradient(backbone.layer2)
        assert not has_gradient(model.student.head)

    def test_vanishes_when_they_are_cut(self, classifier, batch):
        model = distiller(classifier, connections=None)
        model(**batch, mode='loss')['loss_teacher'].backward()
        assert has_gradient(model.teacher)
        assert not has_gradient(model.student)

    def test_of_the_students_loss_reaches_no_teacher_and_no_connection(self, model, batch):
        model(**batch, mode='loss')['loss_student'].backward()
        assert has_gradient(model.student)
        assert not has_gradient(model.teacher)
        assert not has_gradient(model.connections)

    @pytest.mark.parametrize('dense', [False, True])
    def test_reaches_every_parameter_as_ddp_demands(self, classifier, batch, dense):
        points = ['backbone.layer?.*.conv?', 'backbone.layer?.*']
        ensemble = dict(type='LearnableEnsembleLoss', student=BOTH, teacher=BOTH)
        model = distiller(
            classifier,
            connections=dict(points=points, transform=CONV, dense=dense),
            losses=dict(ensemble=ensemble),
        )
        total(model(**batch, mode='loss')).backward()
        assert [n for n, p in model.named_parameters() if p.grad is None] == []


class TestStudentNeverDependsOnTheTeacher:
    """In training, in prediction and as a published model."""

    def test_its_loss_and_statistics_are_those_of_training_alone(self, model, batch):
        alone = copy.deepcopy(model.student).train()
        for parameter in model.teacher.parameters():
            parameter.data.normal_()
        merged = model.train()(**batch, mode='loss')['loss_student']
        assert torch.equal(merged, alone(**batch, mode='loss')['loss'])
        buffers = dict(model.student.named_buffers())
        assert all(torch.equal(v, buffers[name]) for name, v in alone.named_buffers())

    def test_it_predicts_the_same_when_the_teacher_is_deleted(self, model, batch):
        model.eval()
        before = torch.stack([s.pred_score for s in model(**batch, mode='predict')])
        del model.teacher, model.connections, model.losses
        after = torch.stack([s.pred_score for s in model.student(**batch, mode='predict')])
        assert torch.equal(before, after)

    def test_trained_weights_load_in_a_plain_model(self, classifier, model, batch, image_batch):
        optim = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=0.1)))
        for seed in range(2):
            model.train().train_step(image_batch(seed=seed), optim)
        plain = MODELS.build(copy.deepcopy(classifier))
        load_plain(plain, model.state_dict(), 'the trained model')
        with torch.no_grad():
            logits = [net.eval()(batch['inputs']) for net in (plain, model)]
        assert torch.equal(*logits)


class TestValidation:
    def test_outputs_are_the_logits_of_both_networks_connected(self, model, batch):
        model.eval()
        samples = model(**batch, mode='predict')
        logits = {
            name: torch.stack([sample.outputs[name] for sample in samples])
            for name in ('student', 'teacher')
        }
        scores = torch.stack([sample.pred_score for sample in samples])
        assert torch.allclose(scores, logits['student'].softmax(1))
        labels = torch.cat([sample.gt_label for sample in samples])
        losses = model(**batch, mode='loss')
        for name, value in logits.items():
            assert F.cross_entropy(value, labels).item() == pytest.approx(
                losses[f'loss_{name}'].item(), rel=1e-5
            )

    def test_the_students_metric_keeps_its_name_beside_the_teachers(self, model, image_batch):
        evaluator = Evaluator([Accuracy(), OutputAccuracy()])
        # A teacher that is right.
        model.teacher.head.fc.weight.data.zero_()
        model.teacher.head.fc.bias.data = torch.tensor([9.0, 0, 0, 0, 0])
        model.student.head.fc.weight.data.zero_()
        model.student.head.fc.bias.data = torch.tensor([0, 9.0, 0, 0, 0])
        data = image_batch()
        data['data_samples'] = [sample.set_gt_label(0) for sample in data['data_samples']]
        evaluator.process(model.eval().val_step(data), data)
        assert evaluator.evaluate(4) == {
            'accuracy/top1': 0,
            'accuracy/student_top1': 0,
            'accuracy/teacher_top1': 100,
        }


def test_a_step_trains_all_three_and_updates_both_statistics_once(model, image_batch):
    before = copy.deepcopy(model.state_dict())
    optim = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=0.1)))
    log = model.train().train_step(image_batch(), optim)
    assert log.keys() == {'loss', 'loss_student', 'loss_teacher'}
    after = model.state_dict()
    for key, value in before.items():
        if key.endswith('num_batches_tracked'):
            assert after[key] == value + 1 == 1
        elif not key.endswith('bias'):
            assert not torch.equal(after[key], value), key


def test_state_dict_is_enough_to_resume_and_copies_and_ema_work(classifier, model, batch):
    assert {key.split('.')[0] for key in model.state_dict()} == {
        'student',
        'teacher',
        'connections',
    }
    other = distiller(classifier, seed=5)
    other.load_state_dict(model.state_dict())
    averaged = ExponentialMovingAverage(model).module
    losses = [total(m.eval()(**batch, mode='loss')) for m in (model, other, averaged)]
    assert losses[0] == losses[1] == losses[2]


def test_construction_leaves_statistics_and_training_modes_alone(model):
    assert all(module.training for module in model.modules())
    tracked = [v for k, v in model.state_dict().items() if k.endswith('batches_tracked')]
    assert all(v == 0 for v in tracked)


class TestConnections:
    def test_points_are_in_the_order_of_the_forward(self, model):
        expected = [
            f'backbone.layer1.{i}{part}' for i in (0, 1) for part in ('.conv1', '.conv2', '')
        ]
        assert list(model.connections.sources) == expected

    def test_identity_adds_the_very_feature(self, classifier, batch):
        model = distiller(classifier, connections=dict(points='backbone.layer1')).eval()
        with Taps(model.student, ['backbone.layer1']) as ours:
            model.student(batch['inputs'], mode='tensor')
        with (
            Taps(model.teacher, ['backbone.layer1']) as before,
            model._connected([], ours),
            Taps(model.teacher, ['backbone.layer1']) as after,
        ):
            model.teacher(batch['inputs'], mode='tensor')
        assert torch.equal(
            after['backbone.layer1'], before['backbone.layer1'] + ours['backbone.layer1']
        )
        assert not list(model.connections.parameters())

    def test_dense_adds_all_earlier_features_pooled_and_transformed(self, classifier, batch):
        points = ['backbone.layer1', 'backbone.layer2']
        model = distiller(
            classifier, connections=dict(points=points, transform=CONV, dense=True)
        ).eval()
        with Taps(model.student, points) as ours:
            model.student(batch['inputs'], mode='tensor')
        summands = {key: get() for key, get in model.connections.summands(ours).items()}
        (first,), (cross, second) = model.connections.transforms
        shallow, deep = (ours[point] for point in points)
        n, c, h, w = shallow.shape
        pooled = shallow.view(n, c, h // 2, 2, w // 2, 2).mean(dim=(3, 5))
        assert torch.allclose(summands[points[0]], first(shallow), atol=1e-6)
        assert torch.allclose(summands[points[1]], cross(pooled) + second(deep), atol=1e-6)

    @pytest.mark.parametrize(
        'options',
        [{}, dict(bias=False), dict(norm_cfg=dict(type='BN')), dict(with_spectral_norm=True)],
    )
    def test_dense_sums_have_values_and_gradients_of_one_transform_after_the_other(self, options):
        torch.manual_seed(0)
        sizes = dict(a=(2, 3, 8, 8), b=(2, 3, 8, 8), c=(2, 5, 4, 4), d=(2, 5, 4, 4))
        ours = {k: torch.randn(s, dtype=torch.double, requires_grad=True) for k, s in sizes.items()}
        connections = Connections(ours, {**CONV, **options}, dense=True).double()
        # In training each forward brings this norm nearer to its value.
        connections.train('with_spectral_norm' not in options)
        learned = [*ours.values(), *connections.parameters()]
        sums = {key: get() for key, get in connections.summands(ours).items()}
        wanted = {}
        for (point, (_, _, height, _)), transforms in zip(
            sizes.items(), connections.transforms, strict=True
        ):
            earlier = list(ours)[: len(transforms)]
            maps = [F.avg_pool2d(ours[k], sizes[k][2] // height) for k in earlier]
            wanted[point] = sum(c(x) for c, x in zip(transforms, maps, strict=True))
        factors = {k: torch.randn(s, dtype=torch.double) for k, s in sizes.items()}

        def gradients(found):
            return torch.autograd.grad(sum((found[k] * factors[k]).sum() for k in sizes), learned)

        assert all(torch.allclose(sums[k], wanted[k]) for k in sizes)
        for found, expected in zip(gradients(sums), gradients(wanted), strict=True):
            assert torch.allclose(found, expected)

    def test_dense_pools_a_map_once_for_all_points_of_a_size(self, classifier, batch, monkeypatch):
        pooled, adaptive = [], F.adaptive_avg_pool2d

        def pool(value, size):
            # The necks pool to one pixel.
            if tuple(size) != (1, 1):
                pooled.append(value)
            return adaptive(value, size)

        points = ['backbone.layer?.*.conv?', 'backbone.layer?.*']
        model = distiller(classifier, connections=dict(points=points, transform=CONV, dense=True))
        monkeypatch.setattr(F, 'adaptive_avg_pool2d', pool)
        model(**batch, mode='loss')
        # Of the six points of the first stage to those of the second, which are of half the size.
        assert len(pooled) == len({id(value) for value in pooled}) == 6

    def test_norms_of_connections_follow_train_and_eval(self, classifier, batch):
        transform = dict(CONV, norm_cfg=dict(type='BN'))
        model = distiller(classifier, connections=dict(points=POINTS, transform=transform))
        norms = [m for m in model.connections.modules() if isinstance(m, nn.BatchNorm2d)]
        assert len(norms) == 6
        model.train()(**batch, mode='loss')
        assert all(norm.num_batches_tracked == 1 for norm in norms)


class TestTerms:
    def test_gradient_flows_to_the_student_side_and_never_to_the_teacher_side(
        self, classifier, batch
    ):
        hint = dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2')
        model = distiller(classifier, connections=None, losses=dict(hint=hint))
        model(**batch, mode='loss')['loss_hint'].backward()
        assert has_gradient(model.student)
        assert not has_gradient(model.teacher)

    def test_a_tap_in_the_teacher_reads_the_sum(self, classifier, batch):
        point = 'backbone.layer1'
        hint = dict(type='HintLoss', student=point, teacher=point, regressor=None)
        model = distiller(classifier, connections=dict(points=point), losses=dict(hint=hint)).eval()
        with Taps(model.teacher, [point]) as teacher:
            loss = model(**batch, mode='loss')['loss_hint']
        # The student's feature is added, so it drops out of the difference.
        assert loss.item() == pytest.approx(teacher[point].square().mean().item(), rel=1e-4)

    def test_mutual_learning_is_two_directions_each_with_a_fixed_target(self, classifier, batch):
        kd = dict(
            type='KLDivergenceLoss', student=BOTH, teacher=BOTH[::-1], tau=1.0, loss_weight=2.0
        )
        model = distiller(classifier, losses=dict(dml=kd)).eval()
        with Taps(model.student, ['head.fc']) as ours, Taps(model.teacher, ['head.fc']) as theirs:
            loss = model(**batch, mode='loss')['loss_dml']
        s, t = ours['head.fc'], theirs['head.fc']
        expected = sum(
            F.kl_div(a.log_softmax(1), b.detach().softmax(1), reduction='batchmean')
            for a, b in ((s, t), (t, s))
        )
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
        grads = [torch.autograd.grad(x, (s, t), retain_graph=True) for x in (loss, expected)]
        for ours, theirs in zip(*grads, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6)

    def test_ensemble_trains_both_heads_and_its_scores(self, classifier, batch):
        ensemble = dict(type='LearnableEnsembleLoss', student=BOTH, teacher=BOTH)
        model = distiller(classifier, losses=dict(ensemble=ensemble))
        model(**batch, mode='loss')['loss_ensemble'].backward()
        assert has_gradient(model.student.head)
        assert has_gradient(model.teacher.head)
        assert model.losses['ensemble'].scores.grad.abs().sum() > 0

    def test_a_frozen_teacher_beside_the_generated_one(self, classifier, save_teacher, batch):
        big = copy.deepcopy(classifier)
        big.backbone.base_channels = 8
        big.head.in_channels = 16
        losses = dict(
            kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='big:head.fc', tau=4.0),
            hint=dict(type='HintLoss', student='backbone.layer2', teacher='big:backbone.layer2'),
        )
        model = distiller(classifier, losses=losses, teachers=dict(big=save_teacher(big)))
        losses = model(**batch, mode='loss')
        frozen = model.teachers['big'].model
        with torch.no_grad():
            target = (frozen(batch['inputs']) / 4).softmax(1)
        student = copy.deepcopy(model.student).train()(batch['inputs'])
        kl = F.kl_div((student / 4).log_softmax(1), target, reduction='batchmean')
        assert losses['loss_kd'].item() == pytest.approx(16 * kl.item(), rel=1e-4)
        (losses['loss_kd'] + losses['loss_hint']).backward()
        assert has_gradient(model.student)
        assert not has_gradient(model.teacher)
        assert all(p.grad is None and not p.requires_grad for p in frozen.parameters())
        assert not any(key.startswith('teachers') for key in model.state_dict())


class TestBadConfigStopsAtBuildTime:
    @pytest.mark.parametrize(
        ('convs', 'message'),
        [
            ('backbone.layr1.*.conv?', r": 'backbone.layr1.\*.conv\?' matches no.*backbone.layer1"),
            ([], ' is empty'),
            ('backbone.layer1.*', ": 'backbone.layer1.0' is BasicBlock; expected a 3x3 Conv2d"),
            ('backbone.layer2.0.downsample.0', r':.*kernel_size=\(1, 1\).*expected a 3x3'),
        ],
    )
    def test_convolutions(self, classifier, convs, message):
        with pytest.raises(ValueError, match=f'teacher_generator.convs{message}'):
            distiller(classifier, dict(GENERATOR, convs=convs))

    def test_convolutions_that_the_layer_cannot_stand_for(self, classifier):
        classifier.backbone = dict(type='EfficientNet', arch='b0')
        classifier.head.in_channels = 1280
        with pytest.raises(ValueError, match="at 'backbone.layers.0.conv'.*Conv2dAdaptivePadding"):
            distiller(classifier, dict(GENERATOR, convs='backbone.layers.0.conv'))

    @pytest.mark.parametrize(
        ('connections', 'message'),
        [
            (dict(points='backbone.layer9'), 'connections.points.*matches no module'),
            (dict(points='head.fc'), r"connections.points: 'head.fc' gives \(2, 5\)"),
            (dict(points='backbone'), "connections.points: 'backbone' gives"),
            (dict(points='head.loss_module'), 'connections.points.*was not reached'),
            (dict(points='backbone.layer1.0.bn2'), 'connections.points.*bn2.*in place'),
            (
                dict(points=['backbone.layer1', 'backbone.layer2'], dense=True),
                r"connections.transform is missing.*'backbone.layer2'.*8 channels.*\[4, 8\]",
            ),
            (
                dict(points='backbone.layer1', transform=dict(CONV, kernel_size=3)),
                r"\(2, 4, 62, 62\) cannot be added to the output of 'backbone.layer1'.*correct",
            ),
        ],
    )
    def test_connections(self, classifier, connections, message):
        with pytest.raises(ValueError, match=message):
            distiller(classifier, connections=connections)

    def test_misspelt_keys(self, classifier):
        with pytest.raises(TypeError, match="model.connections.*'pionts'"):
            distiller(classifier, connections=dict(pionts='backbone.layer1'))
        with pytest.raises(TypeError, match="model.teacher_generator.*'num_kernel'"):
            distiller(classifier, dict(GENERATOR, num_kernel=4))

    def test_taps_that_name_no_network(self, classifier):
        kd = dict(type='KLDivergenceLoss', student='head.fc', teacher='resnet56:head.fc')
        with pytest.raises(ValueError, match="resnet56:head.fc' names no.*'student', 'teacher'"):
            distiller(classifier, losses=dict(kd=kd))

    @pytest.mark.parametrize('side', ['student', 'teacher'])
    def test_a_softmax_over_labels_that_do_not_exclude_each_other(self, side, classifier):
        classifier.head = dict(type='MultiLabelLinearClsHead', num_classes=5, in_channels=8)
        taps = {**dict.fromkeys(['student', 'teacher'], 'neck'), side: 'head.fc'}
        kd = dict(type='KLDivergenceLoss', **taps)
        with pytest.raises(ValueError, match=f"losses.kd: the {side} tap 'head.fc' lies in a Mult"):
            distiller(classifier, losses=dict(kd=kd))
        ensemble = dict(type='LearnableEnsembleLoss', student=BOTH, teacher=BOTH)
        with pytest.raises(ValueError, match='losses.ensemble: the student tap .* LearnableEnse'):
            distiller(classifier, losses=dict(ensemble=ensemble))
        distiller(classifier, losses=dict(pkt=dict(kd, type='PKTLoss')))

    def test_an_ensemble_of_the_teacher_alone(self, classifier):
        # Without a name, 'head.fc' is the generated teacher's on the teacher side.
        taps = ['head.fc', 'teacher:head.fc']
        ensemble = dict(type='LearnableEnsembleLoss', student=taps, teacher=taps)
        with pytest.raises(ValueError, match='losses.ensemble.*different logits'):
            distiller(classifier, losses=dict(ensemble=ensemble))

    def test_detectors(self, detector):
        with pytest.raises(TypeError, match='model.student is a FasterRCNN.*ImageClassifier'):
            distiller(detector)

    def test_recomputed_activations(self, classifier):
        classifier.backbone.with_cp = True
        with pytest.raises(ValueError, match='model.student: with_cp=True'):
            distiller(classifier)

    @pytest.mark.parametrize(
        ('name', 'student', 'message'),
        [
            ('teacher', 'head.fc', "model.teachers.teacher: 'teacher' names a trained network"),
            ('big', 'big:head.fc', 'losses.kd.student=.*lies in a frozen teacher'),
        ],
    )
    def test_names(self, classifier, save_teacher, name, student, message):
        kd = dict(type='KLDivergenceLoss', student=student, teacher='head.fc')
        with pytest.raises(ValueError, match=message):
            distiller(classifier, losses=dict(kd=kd), teachers={name: save_teacher(classifier)})


def test_a_name_that_collides_with_a_loss_is_refused(classifier, batch):
    kd = dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc')
    model = distiller(classifier, losses=dict(teacher=kd))
    with pytest.raises(ValueError, match="losses.teacher.*'loss_teacher'.*rename"):
        model(**batch, mode='loss')


def test_autocast_gives_finite_gradients(model, batch):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = total(model(**batch, mode='loss'))
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_two_processes_equal_one(classifier, image_batch, assert_equals_one_process):
    cfg = dict(
        type='mmkd.ConnectionDistiller',
        student=classifier,
        teacher_generator=GENERATOR,
        connections=dict(points=POINTS, transform=CONV),
    )
    assert_equals_one_process([(cfg, image_batch(8), wrapper) for wrapper in ('ddp', 'fsdp')])

import copy
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmpretrain.engine.hooks import SwitchRecipeHook

from mmkd.distillers import OfflineDistiller
from mmkd.distillers.term_distiller import dry
from mmkd.distillers.terms import Term, note_pretraining
from mmkd.registry import MODELS


def distiller(student, teacher, **kwargs):
    kwargs.setdefault(
        'losses',
        dict(
            kd=dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=2.0),
            hint=dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2'),
        ),
    )
    torch.manual_seed(0)
    return OfflineDistiller(student=student, teacher=teacher, **kwargs)


@pytest.fixture
def wide(classifier):
    """A teacher of twice the channels."""
    cfg = copy.deepcopy(classifier)
    cfg.backbone.base_channels = 8
    cfg.head.in_channels = 16
    return cfg


@pytest.fixture
def model(classifier, wide, save_teacher):
    return distiller(classifier, save_teacher(wide))


def test_objective_is_the_students_loss_plus_the_terms(model, image_batch):
    data = model.data_preprocessor(image_batch(), True)
    model.eval()  # the same BatchNorm statistics for every forward below
    losses = model(**data, mode='loss')
    teacher = model.teachers[''].model
    labels = torch.tensor([sample.gt_label for sample in data['data_samples']])
    logits = [net.head(net.extract_feat(data['inputs'])) for net in (model.student, teacher)]
    maps = [net.backbone(data['inputs'])[-1] for net in (model.student, teacher)]
    expected = {
        'loss_student': F.cross_entropy(logits[0], labels),
        'loss_kd': 4
        * F.kl_div(
            (logits[0] / 2).log_softmax(1), (logits[1] / 2).softmax(1), reduction='batchmean'
        ),
        'loss_hint': F.mse_loss(model.losses['hint'].regressors[0](maps[0]), maps[1]),
    }
    assert losses.keys() == expected.keys()
    for key, value in expected.items():
        assert losses[key].item() == pytest.approx(value.item(), rel=1e-5), key


def test_student_loss_weight_scales_the_students_own_losses(
    classifier, wide, save_teacher, image_batch
):
    teacher = save_teacher(wide)
    plain, weighted = (distiller(classifier, teacher, student_loss_weight=w) for w in (1.0, 0.1))
    data = plain.data_preprocessor(image_batch(), True)
    one, tenth = plain(**data, mode='loss'), weighted(**data, mode='loss')
    assert tenth['loss_student'].item() == pytest.approx(0.1 * one['loss_student'].item())
    assert tenth['loss_kd'].item() == pytest.approx(one['loss_kd'].item())


def test_gradient_reaches_student_and_adapters_and_no_teacher(model, image_batch):
    data = model.data_preprocessor(image_batch(), True)
    sum(model.train()(**data, mode='loss').values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    assert 'losses.hint.regressors.0.conv.weight' in dict(model.named_parameters())
    assert all(p.grad is None for p in model.teachers[''].model.parameters())


class TestTeacherIsUntouched:
    """By train(), init_weights(), the optimizer, the state dict, EMA and copies."""

    def test_by_train_and_init_weights(self, model):
        teacher = model.teachers[''].model
        before = copy.deepcopy(teacher.state_dict())
        model.train()
        model.init_weights()
        assert not any(module.training for module in teacher.modules())
        assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())

    def test_by_a_training_step(self, model, image_batch):
        teacher = model.teachers[''].model
        before = copy.deepcopy(teacher.state_dict())
        optim = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=1.0)))
        model.train()
        student_before = copy.deepcopy(model.student.state_dict())
        model.train_step(image_batch(), optim)
        assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
        assert any(
            not torch.equal(v, student_before[k]) for k, v in model.student.state_dict().items()
        )

    def test_it_is_in_no_state_dict_and_no_module_tree(self, model):
        theirs = {id(p) for p in model.teachers[''].model.parameters()}
        assert not theirs & {id(p) for p in model.parameters()}
        assert {key.split('.')[0] for key in model.state_dict()} == {'student', 'losses'}
        assert model.teachers[''].model not in set(model.modules())

    def test_copies_and_ema_share_it(self, model):
        assert copy.deepcopy(model).teachers[''] is model.teachers['']
        averaged = ExponentialMovingAverage(model)
        assert averaged.module.teachers[''] is model.teachers['']

    def test_it_moves_with_the_distiller(self, model):
        model.double()
        assert {p.dtype for p in model.teachers[''].model.parameters()} == {torch.float64}


@pytest.mark.parametrize('exits', [False, True])
def test_a_switch_of_recipes_reaches_the_students_loss(exits, classifier, wide, save_teacher):
    student = dict(type='mmkd.MultiExitClassifier', model=classifier) if exits else classifier
    tap = 'model.head.fc' if exits else 'head.fc'
    terms = dict(kd=dict(type='KLDivergenceLoss', student=tap, teacher='head.fc'))
    model = distiller(student, save_teacher(wide), losses=terms)
    smooth = dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1)
    hook = SwitchRecipeHook([dict(action_epoch=1, loss=smooth)])
    hook.before_train_epoch(Mock(model=model, epoch=0))
    head = (model.student.model if exits else model.student).head
    assert head.loss_module is model.head.loss_module
    assert type(head.loss_module).__name__ == 'LabelSmoothLoss'


def test_only_the_student_predicts(model, image_batch):
    data = model.eval().data_preprocessor(image_batch(), False)
    with torch.no_grad():
        ours = model(**data, mode='predict')
        theirs = model.student(**data, mode='predict')
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.pred_score, b.pred_score)


def test_feature_terms_never_run_the_teachers_head(classifier, wide, save_teacher, image_batch):
    hint = dict(type='HintLoss', student='backbone.layer1', teacher='backbone.layer1')
    model = distiller(classifier, save_teacher(wide), losses=dict(hint=hint))
    calls = []
    for part in ('neck', 'head'):
        getattr(model.teachers[''].model, part).register_forward_hook(
            lambda *_, part=part: calls.append(part)
        )
    model(**model.data_preprocessor(image_batch(), True), mode='loss')
    assert calls == []


def test_a_dry_forward_leaves_the_student_as_it_was(classifier, wide, save_teacher):
    torch.manual_seed(0)
    alone = MODELS.build(copy.deepcopy(classifier))
    model = distiller(classifier, save_teacher(wide))
    assert all(
        torch.equal(v, alone.state_dict()[k])
        for k, v in model.student.state_dict().items()
        if 'running' in k or 'batches' in k
    )
    assert model.student.training


def test_several_teachers(classifier, wide, save_teacher, image_batch):
    teachers = dict(a=save_teacher(classifier, 1, 'a.pth'), b=save_teacher(wide, 2, 'b.pth'))
    losses = dict(
        kd=dict(
            type='KLDivergenceLoss',
            student=['head.fc', 'head.fc'],
            teacher=['a:head.fc', 'b:head.fc'],
        ),
        hint=dict(type='HintLoss', student='backbone.layer1', teacher='b:backbone.layer1'),
    )
    model = distiller(classifier, None, teachers=teachers, losses=losses)
    data = model.data_preprocessor(image_batch(), True)
    model.eval()
    both = model(**data, mode='loss')['loss_kd'].item()
    single = []
    for name in 'ab':
        kd = dict(type='KLDivergenceLoss', student='head.fc', teacher=f'{name}:head.fc')
        one = distiller(classifier, None, teachers=teachers, losses=dict(kd=kd))
        one.student.load_state_dict(model.student.state_dict())
        single.append(one.eval()(**data, mode='loss')['loss_kd'].item())
    assert both == pytest.approx(sum(single) / 2, rel=1e-5)


def test_data_preprocessor_of_the_runner_goes_to_the_student(classifier, wide, save_teacher):
    preprocessor = classifier.pop('data_preprocessor')
    model = distiller(classifier, save_teacher(wide), data_preprocessor=preprocessor)
    assert model.data_preprocessor is model.student.data_preprocessor
    assert model.data_preprocessor.mean.flatten().tolist() == [100.0] * 3


class TestBadConfigStopsAtBuildTime:
    def build(self, classifier, wide, save_teacher, **change):
        kd = dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc')
        kd.update(change)
        kd = {key: value for key, value in kd.items() if value is not None}
        distiller(classifier, save_teacher(wide), losses=dict(kd=kd))

    @pytest.mark.parametrize(
        ('change', 'error', 'message'),
        [
            (dict(student='head.fcc'), ValueError, "no module 'head.fcc'.*head.fc"),
            (dict(teacher='hed.fc'), ValueError, "no module 'hed.fc'.*head.fc"),
            (dict(student=None), ValueError, 'losses.kd.student is missing'),
            (dict(type='KLDivergenceLos'), ValueError, 'losses.kd.type.*nearest: KLDivergenceLoss'),
            (dict(tua=3), TypeError, 'losses.kd.tua=3 is unknown: KLDivergenceLoss takes tau'),
            (
                dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1, num_classes=5),
                TypeError,
                'expected a subclass of mmkd.losses.DistillLoss',
            ),
            (
                dict(student='backbone.layer2'),
                ValueError,
                r'losses.kd \(student=.*\(2, 8, 32, 32\).*teacher=.*\(2, 5\)\).*takes logits',
            ),
            (dict(warmup=-1), ValueError, 'losses.kd.warmup'),
            (dict(student='head.loss_module'), ValueError, 'losses.kd: tap.*was not reached'),
        ],
    )
    def test_in_a_term(self, classifier, wide, save_teacher, change, error, message):
        with pytest.raises(error, match=message):
            self.build(classifier, wide, save_teacher, **change)

    def test_other_classes(self, classifier, wide, save_teacher):
        wide.head.num_classes = 7
        with pytest.raises(ValueError, match='must predict the same classes'):
            self.build(classifier, wide, save_teacher)

    def test_no_teacher_or_two_kinds(self, classifier, wide, save_teacher):
        teacher = save_teacher(wide)
        for kwargs in (dict(teacher=None), dict(teacher=teacher, teachers=dict(a=teacher))):
            with pytest.raises(ValueError, match='either model.teacher or model.teachers'):
                distiller(classifier, **kwargs)

    def test_unknown_teacher_name(self, classifier, wide, save_teacher):
        kd = dict(type='KLDivergenceLoss', student='head.fc', teacher='c:head.fc')
        with pytest.raises(ValueError, match=r"'c:head.fc' names no teacher.*\['a'\]"):
            distiller(classifier, None, teachers=dict(a=save_teacher(wide)), losses=dict(kd=kd))

    def test_misspelt_teacher_key(self, classifier, wide, save_teacher):
        cfg = save_teacher(wide)
        cfg['checkpont'] = cfg.pop('checkpoint')
        with pytest.raises(TypeError, match="model.teacher.*'checkpont'"):
            distiller(classifier, cfg)


@pytest.mark.parametrize('side', ['student', 'teacher'])
@pytest.mark.parametrize('loss', ['KLDivergenceLoss', 'DISTLoss'])
def test_a_softmax_over_labels_that_do_not_exclude_each_other_is_refused(
    side, loss, classifier, save_teacher
):
    multi_label = copy.deepcopy(classifier)
    multi_label.head = dict(type='MultiLabelLinearClsHead', num_classes=5, in_channels=8)
    student, teacher = classifier, multi_label
    if side == 'student':
        student, teacher = teacher, student
    terms = dict(kd=dict(type=loss, student='head.fc', teacher='head.fc'))
    message = rf"losses.kd: the {side} tap 'head.fc' lies in a MultiLabelLinearClsHead, .*{loss}"
    with pytest.raises(ValueError, match=message):
        distiller(student, save_teacher(teacher), losses=terms)
    # Of features, and of logits one by one, there is nothing to say.
    terms = dict(pkt=dict(type='PKTLoss', student='head.fc', teacher='head.fc'))
    distiller(student, save_teacher(teacher), losses=terms)


def test_a_name_that_collides_with_a_loss_of_the_student_is_refused(
    classifier, wide, save_teacher, image_batch
):
    class Verbose(type(MODELS.build(copy.deepcopy(classifier)))):
        def loss(self, *args, **kwargs):
            return dict(loss_kd=super().loss(*args, **kwargs)['loss'])

    MODELS.register_module(name='VerboseClassifier', module=Verbose, force=True)
    classifier.type = 'mmkd.VerboseClassifier'
    model = distiller(classifier, save_teacher(wide))
    with pytest.raises(ValueError, match="losses.kd.*'loss_kd'.*own losses.*rename"):
        model(**model.data_preprocessor(image_batch(), True), mode='loss')


def test_a_tap_overwritten_in_place_is_refused(classifier, wide, save_teacher):
    hint = dict(type='HintLoss', student='backbone.layer1.0.bn2', teacher='backbone.layer1')
    with pytest.raises(ValueError, match="losses.hint: tap 'backbone.layer1.0.bn2'.*in place"):
        distiller(classifier, save_teacher(wide), losses=dict(hint=hint))


class TestSchedule:
    @pytest.fixture(autouse=True)
    def hub(self):
        return MessageHub.get_instance('schedule')

    def test_weight_grows_linearly_to_one(self, hub):
        term = Term('a', 's', 't', warmup=4)
        hub.update_info('max_epochs', 10)
        factors = []
        for epoch in range(6):
            hub.update_info('epoch', epoch)
            factors.append(term.factor())
        assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]

    def test_a_sigmoid_ramp_is_that_of_temporal_ensembling(self, hub):
        term = Term('a', 's', 't', begin=2, warmup=80, ramp='sigmoid')
        hub.update_info('max_epochs', 300)
        for epoch, expected in ((1, 0.0), (2, 0.0067379470), (42, 0.2865047969), (82, 1), (99, 1)):
            hub.update_info('epoch', epoch)
            assert term.factor() == pytest.approx(expected)

    def test_a_term_is_on_from_begin_to_end_and_warms_up_from_begin(self, hub):
        term = Term('a', 's', 't', begin=1, end=5, warmup=2)
        hub.update_info('max_epochs', 10)
        factors = []
        for epoch in range(7):
            hub.update_info('epoch', epoch)
            factors.append(term.factor())
        assert factors == [0.0, 0.5, 1.0, 1.0, 1.0, 0.0, 0.0]

    def test_a_term_that_is_off_costs_nothing_and_leaves_no_gradient(
        self, hub, classifier, wide, save_teacher, image_batch
    ):
        hint = dict(type='HintLoss', student='backbone.layer2', teacher='backbone.layer2', begin=3)
        model = distiller(classifier, save_teacher(wide), losses=dict(hint=hint))
        seen = []
        model.teachers[''].model.backbone.register_forward_pre_hook(lambda *args: seen.append(1))
        data = model.data_preprocessor(image_batch(), True)
        losses = model(**data, mode='loss')
        sum(losses.values()).backward()
        assert losses['loss_hint'] == 0
        assert not seen
        # Zero, not None, which DDP would wait for.
        assert all((p.grad == 0).all() for p in model.losses.parameters())
        hub.update_info('epoch', 3)
        assert model(**data, mode='loss')['loss_hint'] > 0
        assert seen

    def test_a_term_for_a_phase_before_training_needs_one(self, hub):
        term = Term('a', 's', 't', end=0)
        with pytest.raises(ValueError, match="losses.a.end=0.*PretrainHook', losses=\\['a'\\]"):
            term.factor()
        note_pretraining(['b'])
        note_pretraining(['a'])
        assert term.factor() == 0
        assert Term('b', 's', 't', end=0).factor() == 0

    @pytest.mark.parametrize(
        ('schedule', 'message'),
        [
            (dict(begin=-1), 'losses.a.begin'),
            (dict(begin=5, end=4), 'losses.a.end=4.*begin=5'),
            (dict(warmup=2, ramp='cosine'), "losses.a.ramp='cosine'.*'linear', 'sigmoid'"),
        ],
    )
    def test_impossible_times_are_refused(self, schedule, message):
        with pytest.raises(ValueError, match=message):
            Term('a', 's', 't', **schedule)

    def test_in_iterations(self, hub):
        hub.update_info('iter', 9)
        hub.update_info('max_epochs', 1)
        assert Term('a', 's', 't', warmup=100, by_epoch=False).factor() == 0.1

    def test_epochs_in_an_iteration_based_loop_are_refused(self, hub):
        hub.update_info('max_epochs', 1)
        with pytest.raises(ValueError, match='losses.a.warmup=20.*by_epoch=False'):
            Term('a', 's', 't', warmup=20).factor()

    def test_it_scales_the_logged_loss(self, hub, classifier, wide, save_teacher, image_batch):
        kd = dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc')
        teacher = save_teacher(wide)
        plain = distiller(classifier, teacher, losses=dict(kd=kd))
        warm = distiller(classifier, teacher, losses=dict(kd=dict(**kd, warmup=10)))
        hub.update_info('epoch', 2)
        data = plain.data_preprocessor(image_batch(), True)
        full, part = (m(**data, mode='loss')['loss_kd'].item() for m in (plain, warm))
        assert part == pytest.approx(0.3 * full, rel=1e-5)

    def test_the_weight_of_a_term_that_has_one_is_logged(
        self, hub, classifier, wide, save_teacher, image_batch
    ):
        kd = dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc', loss_weight=2.0)
        losses = dict(steady=kd, warm=dict(kd, warmup=10), late=dict(kd, begin=5))
        model = distiller(classifier, save_teacher(wide), losses=losses)
        hub.update_info('epoch', 2)
        data = model.data_preprocessor(image_batch(), True)
        total, logged = model.parse_losses(model(**data, mode='loss'))
        found = {name: value for name, value in logged.items() if 'weight' in name}
        assert found == dict(weight_warm=pytest.approx(0.6), weight_late=0)
        parts = [value for name, value in logged.items() if name.startswith('loss_')]
        assert total.item() == pytest.approx(sum(map(float, parts)))


@pytest.mark.parametrize('dtype', [torch.bfloat16])
def test_autocast_gives_finite_float32_terms(model, image_batch, dtype):
    data = model.data_preprocessor(image_batch(), True)
    with torch.autocast('cpu', dtype=dtype):
        losses = model(**data, mode='loss')
    assert losses['loss_kd'].dtype == losses['loss_hint'].dtype == torch.float32
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


class TestDtypeOfTheTeacher:
    def build(self, classifier, wide, save_teacher, dtype):
        model = distiller(classifier, {**save_teacher(wide), 'dtype': dtype}).eval()
        seen = []
        layer = model.teachers[''].model.backbone.layer2
        layer.register_forward_hook(lambda *x: seen.append(x[2].dtype))
        return model, seen

    @pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
    def test_it_computes_in_it_and_the_terms_stay_near(
        self, classifier, wide, save_teacher, image_batch, dtype
    ):
        (half, seen), (full, _) = (
            self.build(classifier, wide, save_teacher, name) for name in (dtype, None)
        )
        half.load_state_dict(full.state_dict())
        data = full.data_preprocessor(image_batch(), True)
        losses, expected = (model(**data, mode='loss') for model in (half, full))
        assert seen == [getattr(torch, dtype)]
        assert torch.equal(losses['loss_student'], expected['loss_student'])
        for key in ('loss_kd', 'loss_hint'):
            assert losses[key].item() == pytest.approx(expected[key].item(), rel=0.02), key
            assert losses[key] != expected[key], key
        sum(losses.values()).backward()
        weights = half.teachers[''].model.parameters()
        assert all(weight.dtype == torch.float32 for weight in weights)

    def test_float32_holds_under_the_students_autocast(
        self, classifier, wide, save_teacher, image_batch
    ):
        model, seen = self.build(classifier, wide, save_teacher, 'float32')
        with torch.autocast('cpu', torch.bfloat16):
            model(**model.data_preprocessor(image_batch(), True), mode='loss')
        assert seen == [torch.float32]

    def test_another_is_refused(self, classifier, wide, save_teacher):
        with pytest.raises(
            ValueError, match=r"model\.teacher\.dtype='half', expected one of bfloat16"
        ):
            self.build(classifier, wide, save_teacher, 'half')


def test_a_failure_of_the_dry_forward_without_words_is_named_by_its_type():
    with (
        pytest.raises(ValueError, match=r'the teacher with images of \(3, 8, 8\).*: KeyError; set'),
        dry('the teacher', torch.zeros(2, 3, 8, 8)),
    ):
        raise KeyError

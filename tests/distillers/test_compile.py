"""``compile=True``: MMEngine's runner compiles ``train_step``."""

import copy

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper

from mmkd.registry import MODELS

STAGES = ['backbone.layer1', 'backbone.layer2']
HINT = dict(type='HintLoss', student=STAGES[0], teacher=STAGES[0])
REVIEW = dict(type='ReviewKDLoss', student=STAGES, teacher=STAGES)
KD = dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc', tau=2.0)
EXIT = dict(tap=STAGES[0], type='mmkd.LCTExit', in_channels=4, channels=(8,))


class Compiler:
    """A backend of torch.compile that keeps the number of convolutions of every graph."""

    def __init__(self, backend):
        torch._dynamo.reset()
        self.backend = torch._dynamo.lookup_backend(backend)
        self.convs = []

    def __call__(self, graph, inputs):
        targets = [str(node.target) for node in graph.graph.nodes]
        self.convs.append(sum('conv2d' in target for target in targets))
        return self.backend(graph, inputs)


def trained(cfg, batches, compiler=None):
    """Losses of some steps, the weights after the first, and the graphs after each."""
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg))
    optim = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=0.01)))
    step = torch.compile(model.train_step, backend=compiler) if compiler else model.train_step
    losses, weights, graphs = [], None, []
    for batch in batches:
        # Of mmdet's samplers.
        torch.manual_seed(0)
        logged = step(copy.deepcopy(batch), optim_wrapper=optim)
        losses.append({key: value.item() for key, value in logged.items()})
        if weights is None:
            # Later ones differ by what an untrained detector makes of rounding.
            weights = copy.deepcopy(model.state_dict())
        graphs.append(len(compiler.convs) if compiler else 0)
    return losses, weights, graphs


def check_training(cfg, make, backend):
    """Compiled or not, a distiller learns the same, and in the end nothing is compiled anew."""
    batches = [make(seed=seed) for seed in range(4)]
    losses, weights, _ = trained(cfg, batches)
    compiler = Compiler(backend)
    ours, our_weights, graphs = trained(cfg, batches, compiler)
    assert [step.keys() for step in ours] == [step.keys() for step in losses]
    for mine, theirs in zip(ours, losses, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    for name, value in weights.items():
        torch.testing.assert_close(our_weights[name], value, rtol=1e-3, atol=1e-5, msg=name)
    assert graphs[0] > 0
    assert graphs[2] == graphs[3]
    return compiler


def offline(student, save_teacher, **losses):
    return dict(
        type='mmkd.OfflineDistiller',
        student=student,
        teacher=save_teacher(student),
        losses=losses,
    )


def test_student_teacher_and_each_term_are_one_graph(classifier, save_teacher, image_batch):
    """The teacher's ends with its last tap, before the second of its two stages."""
    torch.manual_seed(0)
    cfg = offline(classifier, save_teacher, hint=dict(HINT, warmup=9, by_epoch=False))
    model = MODELS.build(cfg).eval()
    batches = [model.data_preprocessor(image_batch(seed=seed), True) for seed in range(2)]
    hub = MessageHub.get_current_instance()

    def losses_of(forward):
        for step, batch in enumerate(batches):
            hub.update_info('iter', step)
            yield forward(**batch, mode='loss')

    expected = list(losses_of(model))
    compiler = Compiler('eager')
    forward = torch.compile(model.forward, backend=compiler)
    for ours, theirs in zip(losses_of(forward), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
        # The student's ten convolutions, five of the teacher's, the one of the term; the weight
        # that grows compiles nothing anew.
        assert compiler.convs == [10, 5, 1]


@pytest.mark.full
def test_a_compiled_classifier_learns_the_same(classifier, save_teacher, image_batch):
    cfg = offline(classifier, save_teacher, kd=KD, hint=HINT, review=REVIEW)
    check_training(cfg, image_batch, 'aot_eager')


@pytest.mark.full
@pytest.mark.parametrize(
    'objective',
    [dict(type='mmkd.BEEDLoss'), dict(type='mmkd.ONELoss', tap=STAGES[0])],
    ids=['BEED', 'ONE'],
)
def test_a_compiled_network_with_exits_learns_the_same(classifier, image_batch, objective):
    student = dict(type='mmkd.MultiExitClassifier', model=classifier, exits=[EXIT, EXIT])
    cfg = dict(type='mmkd.MultiExitDistiller', student=student, objective=objective)
    check_training(cfg, image_batch, 'aot_eager')


@pytest.mark.full
def test_compiled_peers_learn_the_same(classifier, image_batch):
    networks = [dict(model=classifier, exits=[EXIT]) for _ in range(2)]
    cfg = dict(type='mmkd.MutualDistiller', networks=networks, objective=dict(type='DCMLoss'))
    check_training(cfg, image_batch, 'aot_eager')


@pytest.mark.full
@pytest.mark.parametrize('dense', [False, True])
def test_a_compiled_generated_teacher_learns_the_same(classifier, image_batch, dense):
    cfg = dict(
        type='mmkd.ConnectionDistiller',
        student=classifier,
        teacher_generator=dict(
            type='DynamicAdditiveConv2d', convs='backbone.layer?.*.conv?', num_kernels=3
        ),
        connections=dict(
            points=['backbone.layer1.*'],
            transform=dict(type='ConvModule', kernel_size=1, act_cfg=None),
            dense=dense,
        ),
        losses=dict(kd=KD),
    )
    check_training(cfg, image_batch, 'aot_eager')


def detection(student, save_teacher, losses, **kwargs):
    cfg = offline(student, save_teacher, **losses)
    return {**cfg, 'type': 'mmkd.DetectionDistiller', **kwargs}


NECK = dict(type='ReviewKDLoss', student='neck', teacher='neck')


@pytest.mark.full
def test_a_compiled_detector_learns_the_same(detector, save_teacher, scene_batch):
    """Its heads are some ninety graphs; the teacher's features and ReviewKD one each."""
    fc = 'roi_head.bbox_head.fc_cls'
    losses = dict(
        review=NECK, kd=dict(type='KLDivergenceLoss', student=fc, teacher=fc, loss_weight=20.0)
    )
    cfg = detection(detector, save_teacher, losses)
    compiler = check_training(cfg, scene_batch, 'eager')
    # Backbone and neck of both have 28 convolutions.
    assert compiler.convs.count(28) >= 2


@pytest.mark.full
@pytest.mark.parametrize('name', ['kd', 'reviewkd', 'detection_reviewkd'])
def test_a_distiller_learns_the_same_by_inductor(
    name, classifier, detector, save_teacher, image_batch, scene_batch
):
    """Of the detector the terms alone: its heads are mmdet's, and minutes of compilation."""
    cases = dict(
        kd=lambda: (offline(classifier, save_teacher, kd=KD), image_batch),
        reviewkd=lambda: (offline(classifier, save_teacher, review=REVIEW), image_batch),
        detection_reviewkd=lambda: (
            detection(detector, save_teacher, dict(review=NECK), student_loss_weight=0.0),
            scene_batch,
        ),
    )
    cfg, make = cases[name]()
    check_training(cfg, make, 'inductor')

"""A student, a teacher and a method's name: the config that comes of it, and its training."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmkd import recipes
from mmkd.cli import distill
from mmkd.cli.check import check_training_config
from mmkd.datasets import Digits
from mmkd.publish import plain_config
from mmkd.registry import MODELS

RUN = dict(
    train_dataloader=dict(
        dataset=dict(
            type='mmkd.Digits', split='train', pipeline=[dict(type='RandomCrop', crop_size=8)]
        )
    ),
    train_cfg=dict(by_epoch=True, max_epochs=24),
)
#: Lines of a written config for which nobody has to scroll.
SHORT = 35


@pytest.fixture
def pair(tmp_path, save_teacher):
    """``pair(student, teacher)`` writes both configs and gives the options that name them."""

    def write(student, teacher, **settings):
        for name, model in (('student', student), ('teacher', teacher)):
            scope = model._scope_
            cfg = Config(dict(default_scope=scope, model=model, **RUN) | settings)
            cfg.dump(tmp_path / f'{name}.py')
        weights = save_teacher(teacher)['checkpoint']
        names = [str(tmp_path / f'{name}.py') for name in ('student', 'teacher')]
        return [*names, '--teacher-checkpoint', weights, '--work-dir', str(tmp_path / 'run')]

    return write


@pytest.fixture
def classifiers(pair, classifier):
    teacher = copy.deepcopy(classifier)
    teacher.backbone = dict(classifier.backbone, depth=34, base_channels=8)
    teacher.head = dict(classifier.head, in_channels=16)
    return pair(classifier, teacher)


@pytest.fixture
def detectors(pair, detector):
    return pair(detector, detector)


def written(options, method):
    """Path of the config that a dry run writes."""
    distill.main([*options, '--method', method, '--dry-run'])
    work_dir = Path(options[options.index('--work-dir') + 1])
    (path,) = (work_dir / 'config').glob(f'{method}_*.py')
    return path


def refusal(options, method):
    with pytest.raises(SystemExit) as stop:
        distill.main([*options, '--method', method, '--dry-run'])
    return str(stop.value)


def look(student, teacher):
    return distill.examine(distill.parse_args([student, teacher, '--method', 'kd', '--dry-run']))


def build(path):
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


@pytest.mark.parametrize('method', recipes.DETECTION)
def test_every_method_for_detectors_is_a_short_config_that_builds(detectors, method):
    path = written(detectors, method)
    assert len(path.read_text().splitlines()) < SHORT
    distiller = build(path)
    assert type(distiller).__name__ == 'DetectionDistiller'
    assert [term.name for term in distiller.terms] == [method]


@pytest.mark.parametrize('method', recipes.CLASSIFICATION)
def test_every_method_for_classifiers_is_a_short_config_that_builds(classifiers, method):
    path = written(classifiers, method)
    assert len(path.read_text().splitlines()) < SHORT
    distiller = build(path)
    assert type(distiller).__name__ == 'OfflineDistiller'
    assert [term.name for term in distiller.terms] == [method]


@pytest.mark.parametrize('method', [m for m in recipes.CLASSIFICATION if m != 'crd'])
def test_taps_and_weights_of_a_cifar_pair_are_those_of_the_repository(cifar_pair, repo, method):
    recipe = recipes.CLASSIFICATION[method]
    ours = recipes.write_term(recipe, cifar_pair, recipes.compare(recipe, cifar_pair))
    cfg = Config.fromfile(repo / f'configs/{method}/resnet32x4_resnet8x4_cifar100.py')
    (theirs,) = cfg.model.losses.values()
    if theirs.pop('margins', None) == 'norm':
        # Any two networks have margins of the data; the repository names the norms too.
        theirs['teacher'] = theirs['teacher'][: len(theirs['student'])]
    # The pooled vector, by the names of where it comes from and of where it goes to.
    pooled = {'neck[0]': 'head.fc:input'}
    for side in ('student', 'teacher'):
        if not isinstance(theirs[side], str):
            theirs[side] = [pooled.get(tap, tap) for tap in theirs[side]]
    assert ours == theirs
    weight = recipe.student_loss_weight.get(cifar_pair.student.kind, 1.0)
    assert weight == cfg.model.get('student_loss_weight', 1.0)


@pytest.fixture(scope='module')
def cifar_pair(repo):
    names = [f'configs/baseline/{name}_cifar100.py' for name in ('resnet8x4', 'resnet32x4')]
    return look(*(str(repo / name) for name in names))


@pytest.mark.parametrize('method', ['fgfi', 'fitnet', 'kd', 'reviewkd'])
def test_taps_and_weights_of_a_coco_pair_are_those_of_the_repository(coco_pair, repo, method):
    recipe = recipes.DETECTION[method]
    ours = recipes.write_term(recipe, coco_pair, recipes.compare(recipe, coco_pair))
    if 'anchor_generator' in ours:
        ours['anchor_generator'] = ours['anchor_generator'].value
    cfg = Config.fromfile(repo / f'configs/{method}/faster_rcnn_r101_r50.py')
    (theirs,) = cfg.model.losses.values()
    # A warm-up of 400 iterations could be the whole of a short run.
    schedule = dict(begin=400, by_epoch=False) if method == 'fgfi' else {}
    assert ours | schedule == theirs


@pytest.fixture(scope='module')
def coco_pair():
    names = ['r50_fpn_1x', 'r101_fpn_2x']
    return look(*(f'mmdet::faster_rcnn/faster-rcnn_{name}_coco.py' for name in names))


def test_levels_of_necks_that_start_at_different_strides_are_paired_by_stride(pair, detector):
    teacher = copy.deepcopy(detector)
    teacher.neck = dict(detector.neck, start_level=1, add_extra_convs='on_input')
    cfg = Config.fromfile(written(pair(detector, teacher), 'cwd'))
    assert cfg.model.losses.cwd.student == [f'neck[{i}]' for i in (1, 2, 3, 4)]
    assert cfg.model.losses.cwd.teacher == [f'neck[{i}]' for i in (0, 1, 2, 3)]


def test_images_are_padded_to_what_suits_both(pair, detector):
    teacher = copy.deepcopy(detector)
    teacher.data_preprocessor = dict(detector.data_preprocessor, pad_size_divisor=48)
    distiller = build(written(pair(detector, teacher), 'pkd'))
    assert distiller.data_preprocessor.pad_size_divisor == 96


def test_a_warm_up_is_a_share_of_the_run(classifiers, cifar_pair):
    assert Config.fromfile(written(classifiers, 'dkd')).model.losses.dkd.warmup == 2
    recipe, by_iter = recipes.CLASSIFICATION['dkd'], Config(dict(train_cfg=dict(max_iters=120)))
    pair = replace(cifar_pair, cfg=by_iter)
    term = recipes.write_term(recipe, pair, recipes.compare(recipe, pair))
    assert (term['warmup'], term['by_epoch']) == (10, False)


def test_crd_knows_the_number_of_training_images(classifiers):
    found = Config.fromfile(written(classifiers, 'crd')).model.losses.crd.num_data
    assert found == len(Digits(split='train', pipeline=[]))


def test_imports_and_hooks_of_the_student_stay(pair, classifier):
    options = pair(
        classifier,
        classifier,
        custom_imports=dict(imports=['json']),
        default_hooks=dict(publish=dict(type='mmkd.PublishStudentHook', priority=1)),
    )
    cfg = Config.fromfile(written(['--student-checkpoint', 'me.pth', *options], 'kd'))
    assert cfg.custom_imports.imports == ['json', 'mmkd']
    assert cfg.default_hooks.publish.priority == 1
    assert cfg.default_hooks.step_seed.type == 'mmkd.StepSeedHook'
    assert cfg.load_from == 'me.pth'


def test_groups_of_parameters_stay_the_students(pair, classifier):
    paramwise = dict(layer_decay_rate=0.65, custom_keys={'.cls_token': dict(decay_mult=0.0)})
    optim = dict(
        optimizer=dict(type='AdamW', lr=0.001),
        constructor='LearningRateDecayOptimWrapperConstructor',
        paramwise_cfg=paramwise,
    )
    cfg = Config.fromfile(written(pair(classifier, classifier, optim_wrapper=optim), 'kd'))
    check_training_config(cfg, 'CONFIG')
    assert cfg.optim_wrapper.constructor == 'mmkd.StudentOptimWrapperConstructor'
    assert cfg.optim_wrapper.paramwise_cfg == dict(
        paramwise, student_constructor=optim['constructor']
    )
    assert plain_config(cfg).optim_wrapper == optim
    cfg.optim_wrapper = optim
    with pytest.raises(
        ValueError, match='of a plain model, not of a distiller; set it to .*mmkd.S'
    ):
        check_training_config(cfg, 'CONFIG')


def test_a_method_that_does_not_suit_is_refused_with_those_that_do(pair, classifier):
    teacher = copy.deepcopy(classifier)
    teacher.backbone = dict(
        type='VisionTransformer',
        arch=dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8),
        img_size=64,
    )
    teacher.neck = None
    teacher.head = dict(type='VisionTransformerClsHead', num_classes=5, in_channels=8)
    options = pair(classifier, teacher)
    message = refusal(options, 'at')
    assert 'maps of the backbones' in message
    assert message.endswith('Methods that do: kd, dkd, dist, crd, rkd, pkt, cc, sp')
    assert build(written(options, 'kd')).terms[0].teacher == 'head.layers.head'


def test_several_labels_an_image_leave_the_methods_of_features(pair, classifier):
    student = copy.deepcopy(classifier)
    student.head = dict(type='MultiLabelLinearClsHead', num_classes=5, in_channels=8)
    options = pair(student, classifier)
    assert 'logits by their softmax' in refusal(options, 'kd')
    message = refusal(options, 'crd')
    assert 'one label for each image' in message
    assert not {'kd', 'dkd', 'dist', 'crd'} & set(message.split(': ')[-1].split(', '))
    assert 'sp' in message.split(', ')


@pytest.mark.parametrize(
    'loss',
    [dict(type='CrossEntropyLoss', use_sigmoid=True), dict(type='SeesawLoss', num_classes=3)],
)
def test_scores_without_a_softmax_leave_a_detector_without_kd(loss, pair, detector):
    student = copy.deepcopy(detector)
    student.roi_head.bbox_head.loss_cls = loss
    assert 'RoIs by its softmax' in refusal(pair(student, detector), 'kd')


def test_other_classes_leave_the_methods_without_logits(pair, detector):
    teacher = copy.deepcopy(detector)
    teacher.roi_head.bbox_head.num_classes = 4
    message = refusal(pair(detector, teacher), 'kd')
    assert 'same classes' in message
    assert message.endswith('pkd, cwd, mgd, fgd, reviewkd, fitnet, fgfi')


def test_labels_that_are_mixed_leave_the_methods_without_labels(pair, classifier):
    student = copy.deepcopy(classifier)
    student.train_cfg = dict(augments=[dict(type='Mixup', alpha=0.8)])
    message = refusal(pair(student, classifier), 'dkd')
    assert 'one label' in message
    assert 'crd' not in message.rpartition(':')[2]


@pytest.mark.parametrize('method', ['pkd', 'fgfi'])
def test_a_method_for_detectors_is_refused_for_classifiers(classifiers, method):
    assert f'--method {method} does not suit this pair: it is for' in refusal(classifiers, method)


def test_a_classifier_and_a_detector_are_no_pair(pair, classifier, detector):
    assert 'two classifiers or two detectors' in refusal(pair(detector, classifier), 'kd')


def test_an_edited_config_is_not_overwritten_and_an_unedited_one_is(classifiers):
    path = written(classifiers, 'kd')
    first = path.read_text()
    written([*classifiers[:2], *classifiers[4:]], 'kd')
    assert 'checkpoint' in first
    assert 'checkpoint' not in path.read_text()
    edited = path.read_text().replace('tau=4.0', 'tau=2.0')
    path.write_text(edited)
    assert f'{path} was edited' in refusal(classifiers, 'kd')
    distill.main([*classifiers, '--method', 'kd', '--dry-run', '--resume'])
    assert path.read_text() == edited


def test_options_for_the_student_count_in_the_choice_of_taps(pair, detector):
    teacher = copy.deepcopy(detector)
    teacher.roi_head.bbox_head.num_classes = 4
    options = pair(detector, teacher)
    assert 'same classes' in refusal(options, 'kd')
    written([*options, '--cfg-options', 'model.student.roi_head.bbox_head.num_classes=4'], 'kd')


def test_a_student_of_the_new_config_style_is_refused(classifiers, tmp_path):
    new = tmp_path / 'new.py'
    base = 'with read_base():\n    from .student import *\n'
    new.write_text(f'from mmengine.config import read_base\n{base}')
    assert 'read_base()' in refusal([str(new), *classifiers[1:]], 'kd')


@pytest.mark.parametrize(
    ('step', 'size'),
    [
        (dict(type='RandomResizedCrop', scale=224), 224),
        (dict(type='RandomCrop', crop_size=(32, 32), padding=4), 32),
        (dict(type='torchvision/RandomResizedCrop', size=176, scale=(0.35, 1.0)), 176),
    ],
)
def test_the_size_of_training_is_read_off_the_pipeline(step, size):
    dataset = dict(dataset=dict(pipeline=[dict(type='Resize', scale=256), step, dict(type='Flip')]))
    cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
    assert recipes.training_size(cfg) == size


def test_a_teacher_of_a_file_needs_weights(classifiers):
    with pytest.raises(SystemExit, match='--teacher-checkpoint is missing'):
        distill.main([*classifiers[:2], '--method', 'kd', *classifiers[4:]])
    assert not Path(classifiers[-1]).exists()


def test_two_names_and_a_method_distil(tool, untrained_teacher, tmp_path):
    teacher = 'configs/demo/digits_teacher.py'
    output = tool(
        'distill.py',
        'configs/demo/digits_student.py',
        teacher,
        '--method',
        'sp',
        '--teacher-checkpoint',
        untrained_teacher(teacher),
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_cfg.max_epochs=1',
    )
    row = next(line.split() for line in output.splitlines() if line.startswith('sp'))
    assert (row[1], row[7]) == ('backbone.layer2', 'backbone.layer4')
    assert 'loss_sp: ' in output
    assert (tmp_path / 'student.pth').exists()
    path = tmp_path / 'config' / 'sp_digits_teacher_digits_student.py'
    assert f'tools/dist_train.sh {path} GPUS --work-dir {tmp_path}' in output

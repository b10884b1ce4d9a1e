import copy
import pickle
import re
from urllib.error import URLError

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config

from mmkd.distillers import Teacher
from mmkd.registry import MODELS


@pytest.fixture
def student_preprocessor(classifier):
    return MODELS.build(classifier).data_preprocessor


def test_weights_are_those_of_the_checkpoint_and_frozen(
    classifier, save_teacher, student_preprocessor
):
    cfg = save_teacher(classifier)
    teacher = Teacher(student_preprocessor, **cfg)
    saved = torch.load(cfg['checkpoint'])['state_dict']
    for key, value in teacher.model.state_dict().items():
        assert torch.equal(value, saved[key])
    assert not any(p.requires_grad for p in teacher.model.parameters())
    assert not any(m.training for m in teacher.model.modules())


def test_no_checkpoint_is_refused(classifier, student_preprocessor):
    with pytest.raises(ValueError, match=r'model.teacher.checkpoint is missing.*--cfg-options'):
        Teacher(student_preprocessor, config=classifier)
    # An init_cfg of the backbone alone is not a trained teacher.
    classifier.backbone.init_cfg = dict(type='Pretrained', checkpoint='torchvision://resnet18')
    with pytest.raises(ValueError, match='checkpoint is missing'):
        Teacher(student_preprocessor, config=classifier)


def test_pretrained_init_cfg_of_the_whole_model_is_a_checkpoint(
    classifier, save_teacher, student_preprocessor
):
    cfg = save_teacher(classifier)
    classifier.init_cfg = dict(type='Pretrained', checkpoint=cfg['checkpoint'])
    ours = Teacher(student_preprocessor, config=classifier).model.state_dict()
    theirs = Teacher(student_preprocessor, **cfg).model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_missing_file_is_named(classifier, student_preprocessor):
    with pytest.raises(FileNotFoundError, match="model.teacher.checkpoint.*'gone.pth'"):
        Teacher(student_preprocessor, config=classifier, checkpoint='gone.pth')
    with pytest.raises(FileNotFoundError, match="model.teacher.config.*'gone.py'"):
        Teacher(student_preprocessor, config='gone.py', checkpoint='gone.pth')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda c: c.backbone.update(
                num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,)
            ),
            'unexpected',
        ),
        (lambda c: c.backbone.update(base_channels=8), 'of another shape.*instead of'),
        (
            lambda c: c.backbone.update(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1)),
            'missing',
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    classifier, save_teacher, student_preprocessor, change, message
):
    cfg = save_teacher(copy.deepcopy(classifier))
    change(classifier)
    with pytest.raises(ValueError, match=f'does not fit.*{message}'):
        Teacher(student_preprocessor, config=classifier, checkpoint=cfg['checkpoint'])


def test_a_distillers_checkpoint_and_config_give_its_student(
    classifier, save_teacher, tmp_path, student_preprocessor
):
    cfg = save_teacher(classifier)
    weights = torch.load(cfg['checkpoint'])['state_dict']
    distilled = {f'student.{key}': value for key, value in weights.items()}
    distilled['losses.kd.weight'] = torch.zeros(3)
    torch.save(dict(state_dict=distilled), tmp_path / 'distiller.pth')
    (tmp_path / 'distiller.py').write_text(
        f'model = dict(type="mmkd.OfflineDistiller", student={classifier.to_dict()!r})'
    )
    teacher = Teacher(
        student_preprocessor,
        config=str(tmp_path / 'distiller.py'),
        checkpoint=str(tmp_path / 'distiller.pth'),
    )
    assert all(torch.equal(teacher.model.state_dict()[key], weights[key]) for key in weights)


def test_a_file_that_could_run_code_is_refused(classifier, student_preprocessor, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ('executed',))

    torch.save(dict(state_dict={}, meta=Evil()), tmp_path / 'evil.pth')
    with pytest.raises(pickle.UnpicklingError, match='evil.pth holds a call of print'):
        Teacher(student_preprocessor, config=classifier, checkpoint=str(tmp_path / 'evil.pth'))


class TestRenormalization:
    """The teacher sees the student's pixels normalised its own way."""

    def check(self, student_cfg, teacher_cfg, save_teacher, batch):
        student = MODELS.build(student_cfg).data_preprocessor
        teacher = Teacher(student, **save_teacher(teacher_cfg))
        expected = teacher.model.data_preprocessor(copy.deepcopy(batch), False)['inputs']
        data = student(batch, False)
        found = teacher.renormalize(data['inputs'], data['data_samples'])
        assert torch.allclose(found, expected, atol=1e-5)
        return data['inputs'], found

    def test_mean_and_std(self, classifier, save_teacher, image_batch):
        other = copy.deepcopy(classifier)
        other.data_preprocessor.update(mean=[120.0, 90.0, 60.0], std=[60.0, 50.0, 40.0])
        self.check(classifier, other, save_teacher, image_batch())

    def test_channel_order(self, classifier, save_teacher, image_batch):
        other = copy.deepcopy(classifier)
        other.data_preprocessor.update(mean=[1.0, 2.0, 3.0], std=[1.0, 2.0, 3.0], to_rgb=False)
        self.check(classifier, other, save_teacher, image_batch())

    def test_caffe_style_teacher_of_a_padded_batch(self, detector, save_teacher, scene_batch):
        caffe = copy.deepcopy(detector)
        caffe.data_preprocessor.update(
            mean=[103.5, 116.3, 123.7], std=[1.0, 1.0, 1.0], bgr_to_rgb=False
        )
        ours, theirs = self.check(detector, caffe, save_teacher, scene_batch())
        padding = torch.ones(ours.shape[2:], dtype=torch.bool)
        padding[:64, :100] = False
        assert padding.any()
        assert (theirs[1][:, padding] == 0).all()

    def test_no_normalisation_on_one_side(self, classifier, save_teacher, image_batch):
        raw = copy.deepcopy(classifier)
        del raw.data_preprocessor['mean'], raw.data_preprocessor['std']
        self.check(classifier, raw, save_teacher, image_batch())

    def test_equal_normalisation_costs_nothing(self, classifier, save_teacher):
        student = MODELS.build(classifier).data_preprocessor
        inputs = torch.randn(2, 3, 4, 4)
        teacher = Teacher(student, **save_teacher(classifier))
        assert teacher.renormalize(inputs, None) is inputs

    def test_padding_that_does_not_suit_the_teacher_is_refused(self, detector, save_teacher):
        student = MODELS.build(copy.deepcopy(detector)).data_preprocessor
        detector.data_preprocessor.pad_size_divisor = 64
        with pytest.raises(ValueError, match='multiples of 64.*of 32.*pad_size_divisor=64'):
            Teacher(student, **save_teacher(detector))


ZOO = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'


def test_a_zoo_teacher_gets_its_published_weights_unless_others_are_given(detector, monkeypatch):
    student_preprocessor = MODELS.build(detector).data_preprocessor
    asked = []
    monkeypatch.setattr(
        'mmkd.distillers.teacher.load_plain', lambda model, file, key: asked.append(file) or {}
    )
    Teacher(student_preprocessor, config=ZOO)
    Teacher(student_preprocessor, config=ZOO, checkpoint='mine.pth')
    assert asked == [get_config(ZOO, pretrained=True).model_path, 'mine.pth']
    assert asked[0].startswith('https://')


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::_base_/models/faster-rcnn_r50_fpn.py',  # not in the metafile
        'mmpretrain::resnet/resnet50_8xb256-rsb-a1-600e_in1k.py',  # published
        'mmkd::demo/digits_teacher.py',
    ],
)
def test_only_configs_with_published_weights_may_do_without_a_checkpoint(
    name, student_preprocessor, monkeypatch
):
    monkeypatch.setattr('mmkd.distillers.teacher.load_plain', lambda *args: {})
    if 'rsb' in name:
        Teacher(student_preprocessor, config=name)
        return
    with pytest.raises(ValueError, match='names no published weights'):
        Teacher(student_preprocessor, config=name)


def test_a_failed_download_names_the_address_and_the_way_out(detector, monkeypatch):
    student_preprocessor = MODELS.build(detector).data_preprocessor

    def offline(url, *args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr('mmengine.runner.checkpoint.load_url', offline)
    with pytest.raises(
        ConnectionError,
        match=r'model.teacher.checkpoint: https://.*no network.*set model.teacher.checkpoint=FILE',
    ):
        Teacher(student_preprocessor, config=ZOO)


def test_a_missing_file_of_a_teacher_names_the_command_that_leaves_it(
    student_preprocessor, tmp_path, monkeypatch, classifier
):
    monkeypatch.chdir(tmp_path)
    Config(dict(model=classifier)).dump(tmp_path / 'big.py')
    for file, command in (
        ('work_dirs/big/epoch_3.pth', '`python tools/train.py big.py`'),
        ('out/epoch_3.pth', '`python tools/train.py big.py --work-dir out`'),
    ):
        with pytest.raises(FileNotFoundError, match=re.escape(command)):
            Teacher(student_preprocessor, config=str(tmp_path / 'big.py'), checkpoint=file)

"""ONNX files of students: what is in them, that onnxruntime agrees, and what is refused."""

import copy
import importlib.util

import numpy as np
import onnxruntime
import pytest
import torch
from mmengine.config import Config, ConfigDict

from mmkd import export as onnx_export
from mmkd.cli.export import main
from mmkd.registry import MODELS

EXITS = [dict(tap='backbone.layer1', type='mmkd.LCTExit', in_channels=4, channels=(8,))]


@pytest.fixture
def save(tmp_path):
    """Write a config and a checkpoint of its model with random weights and statistics."""

    def write(model, train=(), test=(), scope='mmpretrain'):
        torch.manual_seed(0)
        built = MODELS.build(copy.deepcopy(ConfigDict(model)))
        for module in built.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        cfg = Config(dict(model=model, default_scope=scope, custom_imports=dict(imports=['mmkd'])))
        for name, pipeline in (('train', train), ('test', test)):
            cfg[f'{name}_dataloader'] = dict(dataset=dict(pipeline=list(pipeline)))
        cfg.dump(tmp_path / 'config.py')
        torch.save(dict(state_dict=built.state_dict()), tmp_path / 'checkpoint.pth')
        return built.eval(), [str(tmp_path / name) for name in ('config.py', 'checkpoint.pth')]

    return write


def whole(classifier):
    return dict(type='mmkd.MultiExitClassifier', model=classifier.to_dict(), exits=EXITS)


def distiller_of_exits(classifier):
    objective = dict(type='mmkd.ExitCELoss')
    return dict(type='mmkd.MultiExitDistiller', student=whole(classifier), objective=objective)


def run(file, images):
    session = onnxruntime.InferenceSession(str(file), providers=['CPUExecutionProvider'])
    assert [value.name for value in session.get_inputs()] == ['images']
    names = [value.name for value in session.get_outputs()]
    found = session.run(None, {'images': images.numpy()})
    return dict(zip(names, map(torch.from_numpy, found), strict=True))


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_classifier_gives_its_logits_for_any_batch_size(classifier, save, tmp_path, capsys):
    model, files = save(classifier.to_dict(), train=[dict(type='RandomCrop', crop_size=16)])
    main([*files, '--onnx', str(tmp_path / 'student.onnx')])
    for number in (1, 5):
        images = torch.randn(number, 3, 16, 16)
        assert_same(run(tmp_path / 'student.onnx', images), dict(logits=model(images)))
    said = capsys.readouterr().out
    assert 'images (N, 3, 16, 16), normalised, give logits (N, 5)' in said
    assert 'onnxruntime gives what torch gives' in said
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ['.onnx', '.pth', '.py']


@torch.no_grad()
def test_the_exits_of_a_student_are_outputs_where_they_are_kept(classifier, save, tmp_path):
    model, files = save(distiller_of_exits(classifier))
    images = torch.randn(2, 3, 16, 16)
    logits = model.student.outputs(images).logits
    shape = ['--shape', '3', '16', '16']
    main([*files, *shape, '--keep-exits', '--onnx', str(tmp_path / 'exits.onnx')])
    assert_same(run(tmp_path / 'exits.onnx', images), dict(exit1=logits[0], main=logits[1]))
    main([*files, *shape, '--onnx', str(tmp_path / 'plain.onnx'), str(tmp_path / 's.pth')])
    assert_same(run(tmp_path / 'plain.onnx', images), dict(logits=logits[1]))
    assert (
        torch.load(tmp_path / 's.pth')['state_dict'].keys()
        == model.student.model.state_dict().keys()
    )


@torch.no_grad()
def test_every_peer_has_a_file_of_its_own(classifier, save, tmp_path):
    network = dict(model=classifier.to_dict(), exits=EXITS)
    objective = dict(type='mmkd.DCMLoss')
    model, files = save(
        dict(type='mmkd.MutualDistiller', networks=[network, network], objective=objective)
    )
    main([*files, '--shape', '3', '16', '16', '--onnx', str(tmp_path / 'student.onnx')])
    images = torch.randn(2, 3, 16, 16)
    for name, peer in zip(('student', 'student2'), model.networks, strict=True):
        found = run(tmp_path / f'{name}.onnx', images)
        assert_same(found, dict(logits=peer.model(images)))


def by_level(names, outputs):
    return {
        f'{name}_{level}': value
        for name, values in zip(names, outputs, strict=True)
        for level, value in enumerate(values)
    }


@torch.no_grad()
@pytest.mark.parametrize('kind', ['RetinaHead', 'FCOSHead'])
def test_a_one_stage_detector_gives_what_its_head_gives(detector, kind, save, tmp_path):
    del detector['rpn_head'], detector['roi_head'], detector['train_cfg'], detector['test_cfg']
    detector.type = 'SingleStageDetector'
    names = ['cls_score', 'bbox_pred']
    detector.bbox_head = dict(
        type=kind, num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1
    )
    if kind == 'FCOSHead':
        names.append('score_factor')
        detector.bbox_head.norm_cfg = None
    resize = dict(type='Resize', scale=(90, 64), keep_ratio=True)
    model, files = save(detector.to_dict(), test=[resize], scope='mmdet')
    main([*files, '--onnx', str(tmp_path / 'student.onnx')])
    # Padded to multiples of 32, (H, W).
    images = torch.randn(2, 3, 64, 96)
    expected = by_level(names, model(images, mode='tensor'))
    assert_same(run(tmp_path / 'student.onnx', images), expected)


@torch.no_grad()
def test_a_two_stage_detector_gives_maps_and_its_rpn(detector, save, tmp_path, capsys):
    model, files = save(detector.to_dict(), scope='mmdet')
    main([*files, '--shape', '3', '64', '96', '--onnx', str(tmp_path / 'student.onnx')])
    images = torch.randn(2, 3, 64, 96)
    maps = model.extract_feat(images)
    names = ['feat', 'rpn_cls_score', 'rpn_bbox_pred']
    expected = by_level(names, [maps, *model.rpn_head(maps)])
    assert_same(run(tmp_path / 'student.onnx', images), expected)
    assert 'left out: proposals and roi_head' in capsys.readouterr().out


def test_a_detector_whose_config_gives_no_size_takes_640(detector):
    model = MODELS.build(detector)
    assert onnx_export.image_shape(model, Config()) == (3, 640, 640)


def test_a_difference_writes_nothing_and_leaves_the_old_file(
    classifier, save, tmp_path, monkeypatch
):
    _, files = save(classifier.to_dict())
    out = tmp_path / 'student.onnx'
    out.write_text('old')
    session = onnxruntime.InferenceSession

    class Wrong(session):
        def run(self, *args):
            return [value + np.float32(0.5) for value in super().run(*args)]

    monkeypatch.setattr(onnxruntime, 'InferenceSession', Wrong)
    with pytest.raises(RuntimeError, match=r'logits of a batch of 2 differ by up to 0\.5 '):
        main([*files, '--shape', '3', '16', '16', '--force', '--onnx', str(out)])
    assert out.read_text() == 'old'
    assert len(list(tmp_path.iterdir())) == 3


def without(monkeypatch, package):
    find = importlib.util.find_spec
    hidden = lambda name, *args: None if name == package else find(name, *args)  # noqa: E731
    monkeypatch.setattr(importlib.util, 'find_spec', hidden)


def test_without_onnxruntime_it_says_that_nothing_was_compared(
    classifier, save, tmp_path, monkeypatch, capsys
):
    _, files = save(classifier.to_dict())
    without(monkeypatch, 'onnxruntime')
    main([*files, '--shape', '3', '16', '16', '--onnx', str(tmp_path / 'student.onnx')])
    assert 'not compared with torch: pip install onnxruntime' in capsys.readouterr().out
    assert (tmp_path / 'student.onnx').exists()


def test_without_onnx_it_says_what_to_install(classifier, save, tmp_path, monkeypatch):
    _, files = save(classifier.to_dict())
    without(monkeypatch, 'onnx')
    with pytest.raises(ModuleNotFoundError, match='pip install onnx onnxruntime'):
        main([*files, str(tmp_path / 'student.pth'), '--onnx', str(tmp_path / 'student.onnx')])
    assert len(list(tmp_path.iterdir())) == 2


def test_what_cannot_be_written_is_refused(classifier, save, tmp_path):
    _, files = save(classifier.to_dict())
    out = tmp_path / 'student.onnx'
    with pytest.raises(SystemExit, match='nothing to write: give OUT'):
        main(files)
    with pytest.raises(SystemExit, match=r'--onnx must end in \.onnx, found student\.pth'):
        main([*files, '--onnx', 'student.pth'])
    with pytest.raises(ValueError, match='does not say how large images are; give --shape'):
        main([*files, '--onnx', str(out)])
    with pytest.raises(ValueError, match=r'ImageClassifier cannot be exported .* \(4, 16, 16\)'):
        main([*files, '--shape', '4', '16', '16', '--onnx', str(out)])
    with pytest.raises(SystemExit, match='three positive numbers'):
        main([*files, '--shape', '3', '0', '16', '--onnx', str(out)])
    out.write_text('old')
    with pytest.raises(SystemExit, match=r'student\.onnx exist; give another name or --force'):
        main([*files, '--onnx', str(out)])
    assert out.read_text() == 'old'


def test_weights_of_another_model_are_refused(classifier, save, tmp_path):
    _, files = save(classifier.to_dict())
    torch.save(dict(state_dict=dict(a=torch.ones(1))), files[1])
    with pytest.raises(ValueError, match=r'CHECKPOINT .* does not fit ImageClassifier'):
        main([*files, '--shape', '3', '16', '16', '--onnx', str(tmp_path / 'student.onnx')])


def test_other_models_are_refused():
    with pytest.raises(TypeError, match='a Linear is not exported to ONNX'):
        onnx_export.Graph(torch.nn.Linear(1, 1))

"""The small tools: what a config says, what its networks cost."""

import hashlib
import re

import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.image import imread
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample

from mmkd.cli import browse_dataset, export, flops, print_config
from mmkd.engine.config import read_config
from mmkd.publish import plain_model
from mmkd.registry import MODELS


def untrained(name, path):
    """Save the weights of a config's model as it is initialised."""
    cfg = read_config(name, 'CONFIG')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.save(dict(state_dict=MODELS.build(plain_model(cfg)).state_dict()), path)
    return path


def table(text):
    """Numbers by the name in front of them."""
    rows = [re.split(r'  +', line.strip()) for line in text.splitlines()]
    return {row[0]: [float(cell) for cell in row[1:]] for row in rows[2:]}


def test_costs_of_student_and_teacher_and_their_ratio(capsys):
    flops.main(['mmkd::kd/resnet56_resnet20_cifar100.py'])
    found = table(capsys.readouterr().out)
    # As He et al. and the CRD benchmark say: 0.27 and 0.86 M, 41 and 126 MFLOPs.
    assert found['student'][:2] == [0.278, 0.041]
    assert found['teacher'][:2] == [0.862, 0.126]
    assert found['teacher / student'][:2] == pytest.approx([3.10, 3.08], abs=0.01)


def test_a_detector_costs_up_to_its_boxes_and_in_proportion_to_the_image(capsys):
    found = []
    for size in ('32', '64'):
        flops.main(['mmkd::demo/scenes_student.py', '--shape', size])
        found.append(table(capsys.readouterr().out)['student'])
    assert found[0][0] == found[1][0] == 0.308
    assert found[1][1] > found[0][1] > 0


def test_peers_are_told_apart(capsys):
    flops.main(['mmkd::cifar10_16px/dml_resnet8_resnet14.py'])
    found = table(capsys.readouterr().out)
    assert found['net1'][0] < found['net2'][0]


@pytest.mark.parametrize('shape', [['0'], ['1', '2', '3']])
def test_a_shape_is_one_or_two_positive_numbers(shape, capsys):
    with pytest.raises(SystemExit):
        flops.main(['mmkd::demo/digits_kd.py', '--shape', *shape])
    assert 'give one positive number, or two' in capsys.readouterr().err


def test_a_config_is_printed_with_its_options(tmp_path, capsys):
    out = tmp_path / 'resolved.py'
    arguments = ['mmkd::demo/digits_kd.py', '--out', str(out)]
    print_config.main([*arguments, '--cfg-options', 'randomness.seed=3'])
    assert 'KLDivergenceLoss' in capsys.readouterr().out
    resolved = Config.fromfile(out)
    assert resolved.randomness.seed == 3
    assert resolved.model.losses.kd.type == 'KLDivergenceLoss'
    with pytest.raises(SystemExit, match='resolved.py exists; give another name'):
        print_config.main(arguments)


def test_student_and_teacher_are_drawn_the_same_from_their_own_numbers(tmp_path):
    cfg = read_config('mmkd::demo/digits_kd.py', 'CONFIG')
    teacher = read_config(cfg.model.teacher.config, 'CONFIG')
    teacher.data_preprocessor.update(mean=[10.0, 20.0, 30.0], std=[50.0, 60.0, 70.0], to_rgb=True)
    cfg.model.teacher = dict(
        config=dict(plain_model(teacher), _scope_='mmpretrain'),
        checkpoint=str(untrained('mmkd::demo/digits_teacher.py', tmp_path / 'teacher.pth')),
        input_size=16,
    )
    cfg.model.data_preprocessor = cfg.data_preprocessor
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        figure = browse_dataset.draw(cfg, model, 2)
    student, teacher = figure.axes[:2]
    assert student.get_title().startswith('student, 8x8')
    assert teacher.get_title().startswith('teacher, 16x16')
    assert student.get_title().split('\n')[1] != teacher.get_title().split('\n')[1]
    ours, theirs = (torch.as_tensor(axes.images[0].get_array()) for axes in (student, teacher))
    ours, theirs = (picture.permute(2, 0, 1)[None] for picture in (ours, theirs))
    resized = F.interpolate(ours, 16, mode='bilinear', align_corners=False, antialias=True)
    assert torch.allclose(theirs, resized, atol=1e-5)
    assert len(figure.axes) == 4


@pytest.mark.parametrize('to_rgb', [True, False])
def test_a_file_read_blue_first_is_drawn_red_first(to_rgb):
    blue_first = torch.tensor([255.0, 51.0, 0.0])[:, None, None]
    preprocessor = ClsDataPreprocessor(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=to_rgb)
    normalised = preprocessor(dict(inputs=blue_first[None]))['inputs'][0]
    drawn = browse_dataset.pixels(normalised, preprocessor, is_bgr=True)
    assert torch.allclose(drawn[0, 0], torch.tensor([0.0, 0.2, 1.0]), atol=1e-6)


def test_boxes_of_a_detector_are_drawn(tmp_path, capsys):
    out = tmp_path / 'pictures' / 'scenes.png'
    options = ['train_dataloader.dataset.num_images=4', 'train_dataloader.batch_size=2']
    arguments = ['mmkd::demo/scenes_student.py', '--out', str(out), '--num', '1']
    browse_dataset.main([*arguments, '--cfg-options', *options])
    assert capsys.readouterr().out.strip() == str(out)
    # Box lines have a colour, scenes have none.
    picture = imread(out)[..., :3]
    assert (picture.max(-1) - picture.min(-1)).max() > 0.5
    with pytest.raises(SystemExit):
        browse_dataset.main(['mmkd::demo/digits_kd.py', '--num', '0'])


def test_images_without_labels_say_so():
    axes = Figure().subplots()
    boxes = InstanceData(bboxes=torch.ones(1, 4), labels=torch.tensor([1]))
    plain = DataSample().set_gt_label(1)
    marked = DataSample(metainfo=dict(unlabelled=True)).set_gt_label(1)
    found = [
        browse_dataset.draw_truth(axes, sample, ['a', 'b'], (1.0, 1.0))
        for sample in (
            plain,
            DetDataSample(gt_instances=boxes),
            DetDataSample(gt_instances=InstanceData(bboxes=torch.ones(0, 4), labels=torch.ones(0))),
            marked,
            DetDataSample(metainfo=dict(unlabelled=True), gt_instances=boxes),
            DetDataSample(gt_instances=InstanceData()),
            DataSample(),
            None,
        )
    ]
    assert found == ['b', '1 boxes', '0 boxes', *['no labels'] * 5]


def test_published_weights_are_named_by_their_hash(tmp_path, capsys):
    name = 'mmkd::demo/digits_student.py'
    checkpoint = untrained(name, tmp_path / 'checkpoint.pth')
    export.main([name, str(checkpoint), str(tmp_path / 'student.pth'), '--hash'])
    (path,) = tmp_path.glob('student-*.pth')
    digest = path.stem.removeprefix('student-')
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest)
    assert len(digest) == 8
    assert (tmp_path / 'student.py').is_file()
    assert str(path) in capsys.readouterr().out
    with pytest.raises(SystemExit, match='--hash names the file OUT'):
        export.main([name, str(checkpoint), '--hash', '--onnx', 'student.onnx'])

"""Modules of plain torch as teachers."""

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from mmkd.distillers import OfflineDistiller
from mmkd.models import TorchModel


class Tiny(nn.Sequential):
    """Two convolutions and a classifier."""

    def __init__(self, width: int = 6, **_: object) -> None:
        super().__init__(
            nn.Conv2d(3, width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 2, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, 5),
        )


def number(**_: object) -> int:
    return 1


HERE = f'{__name__}.Tiny'
KD = dict(type='KLDivergenceLoss', student='head', teacher='head')
HINT = dict(type='HintLoss', student='backbone.layer2', teacher='backbone.0')
PIXELS = dict(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def config(**changes):
    return dict(dict(type='mmkd.TorchModel', factory=HERE, trained=True, **PIXELS), **changes)


@pytest.fixture
def distil(classifier):
    def build(teacher, **losses):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            return OfflineDistiller(classifier, losses or dict(kd=KD, hint=HINT), teacher)

    return build


def test_it_sees_the_pixels_as_it_was_trained_and_teaches(distil, image_batch):
    model = distil(dict(config=config()))
    seen = []
    teacher = model.teachers[''].model
    teacher.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    batch = image_batch()
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    rgb = torch.stack(batch['inputs']).flip(1) / 255
    mean, std = (torch.tensor(PIXELS[name]).view(3, 1, 1) for name in ('mean', 'std'))
    torch.testing.assert_close(seen[0], (rgb - mean) / std, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        logits = teacher.backbone(seen[0])
    torch.testing.assert_close(teacher(seen[0], mode='tensor'), logits)
    sum(losses.values()).backward()
    assert losses['loss_kd'] > 0
    assert losses['loss_hint'] > 0
    assert all(p.grad is None for p in teacher.parameters())
    assert not any('teacher' in name for name in model.state_dict())


def test_its_images_are_resized_for_it_alone(distil, image_batch):
    model = distil(dict(config=config(), input_size=32), kd=KD)
    shapes = []
    for part in (model.student, model.teachers[''].model):
        part.backbone.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape[2:]))
    model(**model.data_preprocessor(image_batch(size=16), True), mode='loss')
    assert shapes == [(16, 16), (32, 32)]


def test_it_runs_no_further_than_its_last_tap(distil, image_batch):
    model = distil(dict(config=config()), hint=HINT)
    ran = []
    for index, layer in enumerate(model.teachers[''].model.backbone):
        layer.register_forward_pre_hook(lambda *_, index=index: ran.append(index))
    model(**model.data_preprocessor(image_batch(), True), mode='loss')
    assert ran == [0]


def test_weights_come_from_a_file_of_the_bare_module(distil, tmp_path):
    torch.manual_seed(3)
    saved = Tiny()
    path = str(tmp_path / 'tiny.pth')
    torch.save(saved.state_dict(), path)
    model = distil(dict(config=config(trained=None), checkpoint=path))
    for ours, theirs in zip(
        model.teachers[''].model.backbone.parameters(), saved.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    with pytest.raises(ValueError, match='teacher.checkpoint: .*does not fit'):
        distil(dict(config=config(arguments=dict(width=4)), checkpoint=path))


@pytest.mark.parametrize('argument', ['pretrained', 'weights'])
def test_asked_for_weights_the_factory_needs_no_file(distil, argument):
    distil(dict(config=config(trained=None, arguments={argument: True})))


@pytest.mark.parametrize(
    ('changes', 'error', 'said'),
    [
        (
            dict(trained=None),
            ValueError,
            'teacher.checkpoint is missing, and its factory was asked',
        ),
        (
            dict(factory='nowhere.make'),
            ImportError,
            r"model.teacher.config: .*No module named 'nowh",
        ),
        (dict(factory='torch.nn.Lineal'), ImportError, "no attribute 'Lineal'"),
        (dict(factory='Tiny'), ImportError, "expected a dotted path such as 'timm.create_model'"),
        (dict(factory=f'{__name__}.number'), TypeError, 'gave a int, expected a torch.nn.Module'),
        (dict(factory='torch.nn.Linear'), TypeError, r'torch.nn.Linear\(\*\*{}\): .*in_features'),
        (dict(mean=None), ValueError, 'does not say with which mean and std'),
    ],
)
def test_mistakes_are_named(distil, changes, error, said):
    with pytest.raises(error, match=said):
        distil(dict(config=config(**changes)))


@pytest.mark.parametrize('size', ['large', (3,), 0])
def test_an_input_size_is_a_size(distil, size):
    with pytest.raises(ValueError, match='model.teacher.input_size=.*expected a number of pixels'):
        distil(dict(config=config(), input_size=size))


def test_a_missing_timm_is_named(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'timm', None)
    with pytest.raises(ImportError, match=r"pip install 'mmkd\[timm\]'"):
        TorchModel('timm.create_model')


def test_timm_says_how_it_was_trained(distil):
    pytest.importorskip('timm')
    arguments = dict(model_name='vit_tiny_patch16_224', img_size=32, num_classes=5)
    teacher = dict(
        config=dict(
            type='mmkd.TorchModel', factory='timm.create_model', arguments=arguments, trained=True
        ),
        input_size=32,
    )
    model = distil(teacher, kd=KD)
    found = model.teachers[''].model
    torch.testing.assert_close(
        found.data_preprocessor.mean.flatten() / 255,
        torch.tensor(found.backbone.pretrained_cfg['mean']),
    )


def test_torchvision_is_a_factory(distil):
    teacher = config(factory='torchvision.models.resnet18', arguments=dict(num_classes=5))
    resized = dict(tap='backbone.layer1', to='map', size=32)
    hint = dict(type='HintLoss', student='backbone.layer2', teacher=resized)
    distil(dict(config=teacher, input_size=32), kd=KD, hint=hint)

"""What is done to batches on the device is what the pipeline would do to their images."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import IterBasedTrainLoop
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample
from sync import NoWaiting

from mmkd.cli import train
from mmkd.engine import DeviceAugmentHook
from mmkd.engine.hooks.device_augment import crop_and_flip
from mmkd.publish import plain_config
from mmkd.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
# Every crop of it differs.
IMAGE = torch.arange(1, 3 * 4 * 6 + 1, dtype=torch.uint8).view(3, 4, 6)
CROP = dict(type='RandomCrop', crop_size=(4, 6), padding=2)
FLIP = dict(type='RandomFlip', prob=0.5, direction='horizontal')
PACK = dict(type='PackInputs')
REFLECT = [
    dict(type='RandomCrop', crop_size=(8, 10), pad_if_needed=True, padding_mode='reflect'),
    dict(type='RandomCrop', crop_size=(4, 6)),
]


def build(*steps):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return [TRANSFORMS.build(dict(step)) for step in steps]


def counts(images):
    """How often each image is there, by its bytes."""
    found = {}
    for image in images:
        key = image.numpy().tobytes()
        found[key] = found.get(key, 0) + 1
    return found


def by_pipeline(steps, n):
    for _ in range(n):
        results = dict(img=IMAGE.permute(1, 2, 0).numpy().copy())
        for step in steps:
            results = step(results)
        yield torch.from_numpy(results['img'].copy()).permute(2, 0, 1).contiguous()


@pytest.mark.parametrize('crops', [[CROP], REFLECT], ids=['black', 'reflecting'])
@pytest.mark.parametrize('flip', [0.5, 0.2])
def test_every_outcome_of_the_pipeline_is_as_likely_as_there(crops, flip):
    steps = build(*crops, dict(FLIP, prob=flip))
    torch.manual_seed(0)
    outcomes, n = 5 * 5 * 2, 20_000
    found = counts(crop_and_flip(IMAGE.expand(n, -1, -1, -1), steps))
    assert len(found) == outcomes
    assert set(found) == set(counts(by_pipeline(steps, 1500)))
    # Of unflipped images, by enumeration.
    unflipped = set(counts(crop_and_flip(IMAGE.expand(1000, -1, -1, -1), steps[:-1])))
    assert len(unflipped) == 25
    expected = {key: n / 25 * (1 - flip if key in unflipped else flip) for key in found}
    statistic = sum((found[key] - expected[key]) ** 2 / expected[key] for key in found)
    # Mean of a chi-square of 49 degrees of freedom, and four standard deviations.
    assert statistic < 49 + 4 * (2 * 49) ** 0.5


def test_crops_of_black_are_cut_out_of_the_padded_image():
    found = counts(crop_and_flip(IMAGE.expand(2000, -1, -1, -1), build(CROP)))
    padded = torch.nn.functional.pad(IMAGE, (2,) * 4)
    assert set(found) == {
        padded[:, i : i + 4, j : j + 6].numpy().tobytes() for i in range(5) for j in range(5)
    }


def test_draws_are_those_of_the_seed_and_nothing_waits_for_them():
    images = torch.randint(256, (8, 3, 4, 6), dtype=torch.uint8)
    steps = build(*REFLECT, FLIP)
    with NoWaiting() as watch:
        first, second, third = (
            torch.manual_seed(seed) and crop_and_flip(images, steps) for seed in (0, 0, 1)
        )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert not watch.others


def test_the_reflecting_config_reflects():
    pipeline = Config.fromfile(CONFIGS / '_base_/datasets/cifar100_reflect.py').train_pipeline
    images = torch.full((200, 3, 32, 32), 7, dtype=torch.uint8)
    steps = build(*pipeline[:-1])
    assert torch.equal(crop_and_flip(images, steps), images)
    for image in images[:20]:
        results = dict(img=image.permute(1, 2, 0).numpy())
        for step in steps:
            results = step(results)
        assert (results['img'] == 7).all()
        assert results['img'].shape == (32, 32, 3)


def runner(model, *pipelines, loop=None, num_workers=0):
    sets = [
        SimpleNamespace(pipeline=SimpleNamespace(transforms=build(*steps))) for steps in pipelines
    ]
    return SimpleNamespace(
        model=model,
        train_loop=loop,
        train_dataloader=SimpleNamespace(
            dataset=SimpleNamespace(datasets=sets), num_workers=num_workers
        ),
        logger=MMLogger.get_current_instance(),
    )


def test_a_teacher_sees_what_its_student_sees(classifier, save_teacher):
    cfg = dict(classifier, data_preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3, to_rgb=False))
    kd = dict(type='KLDivergenceLoss', student='head.fc', teacher='head.fc')
    model = MODELS.build(
        dict(
            type='mmkd.OfflineDistiller',
            student=classifier,
            teacher=save_teacher(cfg),
            losses=dict(kd=kd),
        )
    )
    DeviceAugmentHook().before_train(runner(model, [CROP, FLIP, PACK]))
    seen = []
    for network in (model.student, model.teachers[''].model):
        network.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    samples = [DataSample().set_gt_label(0) for _ in range(64)]
    data = dict(inputs=IMAGE.expand(64, -1, -1, -1), data_samples=samples)
    model(**model.data_preprocessor(data, training=True), mode='loss')
    student, teacher = (images.round().to(torch.uint8) for images in (seen[0] * 50 + 100, seen[1]))
    assert torch.equal(student.flip(1), teacher)
    assert len(counts(teacher)) > 20
    assert set(counts(teacher)) <= set(counts(by_pipeline(build(CROP, FLIP), 1500)))


def test_the_batch_stays_and_evaluation_is_of_the_images(classifier):
    model = MODELS.build(classifier)
    run = runner(model, [CROP, FLIP, PACK], [CROP, FLIP, PACK])
    data = dict(inputs=IMAGE.expand(8, -1, -1, -1), data_samples=None)
    plain = model.data_preprocessor(data)['inputs']
    DeviceAugmentHook().before_train(run)
    for part in run.train_dataloader.dataset.datasets:
        assert [type(step).__name__ for step in part.pipeline.transforms] == ['PackInputs']
    assert not torch.equal(model.data_preprocessor(data, True)['inputs'], plain)
    assert torch.equal(model.data_preprocessor(data, False)['inputs'], plain)
    assert torch.equal(model.data_preprocessor(data)['inputs'], plain)
    assert torch.equal(data['inputs'], IMAGE.expand(8, -1, -1, -1))


@pytest.mark.parametrize(
    'steps',
    [
        [PACK],
        [CROP, FLIP],
        [CROP, dict(type='Normalize', mean=[0.0], std=[1.0]), PACK],
        [dict(CROP, padding=(1, 2)), PACK],
        [dict(CROP, padding_mode='reflect'), PACK],
        [dict(REFLECT[0], padding_mode='edge'), PACK],
        [dict(CROP, pad_val=3), PACK],
        [CROP, dict(FLIP, direction='vertical'), PACK],
        [CROP, dict(FLIP, prob=[0.5], direction=['horizontal']), PACK],
    ],
)
def test_what_it_cannot_take_over_is_refused_and_left(steps):
    run = runner(torch.nn.Linear(1, 1), steps)
    with pytest.raises(
        ValueError, match=r'DeviceAugmentHook takes .*, found \[.*; remove the hook'
    ):
        DeviceAugmentHook().before_train(run)
    assert len(run.train_dataloader.dataset.datasets[0].pipeline.transforms) == len(steps)


def test_parts_that_are_augmented_differently_are_refused():
    run = runner(torch.nn.Linear(1, 1), [CROP, PACK], [FLIP, PACK])
    with pytest.raises(ValueError, match='expected the same in each'):
        DeviceAugmentHook().before_train(run)


def test_workers_that_have_started_are_refused():
    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    run = runner(torch.nn.Linear(1, 1), [CROP, PACK], loop=loop, num_workers=1)
    with pytest.raises(ValueError, match=r'set train_dataloader\.num_workers=0 or'):
        DeviceAugmentHook().before_train(run)


def test_images_apart_and_of_another_size_are_refused():
    steps = build(CROP)
    with pytest.raises(TypeError, match=r"a list of images, .*type='default_collate'"):
        crop_and_flip([IMAGE], steps)
    with pytest.raises(ValueError, match=r'make \(4, 6\) of images of .*crop_size to \(6, 6'):
        crop_and_flip(torch.zeros(1, 3, 6, 6), steps)


def digits(folder, resume=()):
    train.main(
        [
            str(CONFIGS / 'demo/digits_student.py'),
            *('--work-dir', str(folder), *resume, '--cfg-options', 'randomness.seed=0'),
            'train_dataloader.batch_size=256',
            *('train_dataloader.num_workers=1', 'train_dataloader.persistent_workers=True'),
            *('train_cfg.max_epochs=2', 'default_hooks.checkpoint.max_keep_ckpts=2'),
            'default_hooks.device_augment.type=mmkd.DeviceAugmentHook',
        ]
    )
    return torch.load(folder / 'epoch_2.pth')['state_dict']


@pytest.mark.full
def test_a_resumed_run_is_equal_with_workers_that_persist(tmp_path):
    whole = digits(tmp_path / 'whole')
    resumed = digits(tmp_path / 'resumed', resume=['--resume', str(tmp_path / 'whole/epoch_1.pth')])
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


def test_the_config_of_the_student_keeps_the_pipeline_and_not_the_hook():
    cfg = Config.fromfile(CONFIGS / 'demo/digits_kd.py')
    cfg.default_hooks.device_augment = dict(type='mmkd.DeviceAugmentHook')
    plain = plain_config(cfg)
    assert 'device_augment' not in plain.default_hooks
    assert plain.train_dataloader.dataset == cfg.train_dataloader.dataset

"""What ``--resume`` goes on from."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmkd.engine.resume import prepare_resume

WHOLE = dict(
    state_dict={}, meta=dict(epoch=1, iter=4), message_hub=dict(runtime_info={}), optimizer={}
)


@pytest.fixture
def run(tmp_path):
    """``run(epoch_2=content, ...)`` makes a work dir, oldest file first, and resumes in it."""

    def resume(pointer=None, load_from=None, hook=None, folder=tmp_path, latest=False, **files):
        for age, (name, content) in enumerate(files.items()):
            path = Path(folder, f'{name}.pth')
            path.parent.mkdir(exist_ok=True, parents=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                torch.save(content, path)
            os.utime(path, (age, age))
        if pointer is not None:
            (tmp_path / 'last_checkpoint').write_text(pointer)
        cfg = Config(dict(resume=True, load_from=load_from, work_dir=str(tmp_path)))
        if hook:
            cfg.default_hooks = dict(checkpoint=hook)
        said = prepare_resume(cfg, latest)
        return cfg.load_from and Path(cfg.load_from).name, said

    return resume


def test_what_last_checkpoint_names_wherever_it_was_when_it_was_written(run):
    files = dict(epoch_9=WHOLE, epoch_10=WHOLE, epoch_11=WHOLE)
    assert run('/elsewhere/run/epoch_10.pth', **files) == ('epoch_10.pth', [])


def test_without_it_or_with_an_empty_one_the_newest(run):
    # An older training in the same folder came further.
    files = dict(epoch_30=WHOLE, epoch_9=WHOLE, epoch_10=WHOLE, best_a_epoch_10=WHOLE, student={})
    assert run(**files) == ('epoch_10.pth', [])
    assert run(pointer='') == ('epoch_10.pth', [])


def test_the_newest_that_can_be_read_and_a_word_on_those_that_cannot(run, tmp_path):
    path, said = run(f'{tmp_path}/epoch_4.pth', epoch_2=WHOLE, epoch_3=b'', epoch_4=b'PK\x03\x04')
    assert path == 'epoch_2.pth'
    assert 'epoch_4.pth is not a checkpoint: found a zip archive' in said[0]
    assert 'epoch_3.pth is not a checkpoint: found an empty file' in said[1]
    assert said[2] == f'--resume: training goes on from {tmp_path}/epoch_2.pth'


def test_none_that_can_be_read_is_not_a_fresh_start(run):
    with pytest.raises(ValueError, match='none can be resumed; remove them to start.*empty file'):
        run(epoch_1=b'')


def test_nothing_there_is_a_fresh_start_and_said(run, tmp_path):
    (tmp_path / 'student.pth').write_bytes(b'')
    path, said = run()
    assert path is None
    assert said == [
        f'--resume: there is no checkpoint in {tmp_path}; training starts from the beginning'
    ]


def test_weights_that_the_config_starts_from_are_those_of_a_fresh_start_alone(run):
    assert run(load_from='student.pth', latest=True)[0] == 'student.pth'
    assert run(load_from='student.pth', latest=True, epoch_1=WHOLE) == ('epoch_1.pth', [])


@pytest.mark.parametrize(
    ('hook', 'name'),
    [
        (dict(by_epoch=False), 'iter_7'),
        (dict(filename_tmpl='my_{:03d}.pth'), 'my_007'),
    ],
)
def test_names_as_the_hook_of_the_config_has_them(run, hook, name):
    assert run(hook=hook, **{name: WHOLE}) == (f'{name}.pth', [])


def test_a_folder_for_checkpoints_as_the_config_has_it(run, tmp_path):
    out = tmp_path / 'out'
    found = run(hook=dict(out_dir=str(out)), folder=out / tmp_path.name, epoch_1=WHOLE)
    assert found == ('epoch_1.pth', [])


def test_a_named_file_that_is_not_there_stops(run):
    with pytest.raises(FileNotFoundError, match="--resume: there is no file 'no.pth'"):
        run(load_from='no.pth')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (dict(state_dict={}, meta={}), 'no message_hub and no optimizer: found weights alone'),
        ({'layer.weight': torch.ones(1)}, 'no state_dict.*load_from=FILE in place of --resume'),
        ({**WHOLE, 'optimizer': None}, 'has no optimizer'),
        ({**WHOLE, 'meta': dict(epoch='../x', iter=1)}, "meta.epoch is '../x'"),
        ({**WHOLE, 'meta': dict(epoch=1, iter=-1)}, 'meta.iter is -1'),
        ({**WHOLE, 'message_hub': {}}, 'no runtime_info'),
        ([1], 'holds a list'),
        (b'', 'an empty file'),
    ],
)
def test_a_named_file_that_is_no_checkpoint_of_training_is_refused(run, tmp_path, content, words):
    with pytest.raises((ValueError, TypeError), match=f'--resume: .*a.pth.*{words}'):
        run(load_from=str(tmp_path / 'a.pth'), a=content)

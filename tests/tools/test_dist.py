"""What the distributed tools say when something is wrong."""

CONFIG = 'configs/demo/digits_kd.py'


def test_an_error_of_all_processes_is_one_sentence_and_comes_last(tool, tmp_path):
    missing = 'model.teacher.checkpoint=no/such/file.pth'
    printed = tool(
        'dist_train.sh', CONFIG, 2, '--work-dir', tmp_path, '--cfg-options', missing, ok=False
    )
    assert printed.count("no file 'no/such/file.pth'") == 1
    assert 'Traceback' not in printed
    last = printed.splitlines()[-1]
    assert last.startswith('mmkd train: model.teacher.checkpoint')


def test_a_bug_shows_its_traceback_and_which_process_it_was_in(tool, tmp_path):
    (tmp_path / 'bug.py').write_text("_base_ = 'mmkd::demo/digits_kd.py'\nmodel = {}['bug']")
    printed = tool('dist_train.sh', tmp_path / 'bug.py', 2, '--work-dir', tmp_path, ok=False)
    assert 'Traceback (most recent call last)' in printed
    assert 'ended with exit code 1; see what it said above' in printed.splitlines()[-1]

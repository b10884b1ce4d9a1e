"""An explained error is a sentence; a bug is a traceback."""

import json
import os
import traceback

import pytest

from mmkd import cli
from mmkd.cli.errors import is_explained, report, sentence


def explained():
    raise ValueError('model.a=1; expected 2')


def translated():
    try:
        os.stat('/no/such/file')
    except OSError as error:
        raise FileNotFoundError('CONFIG: there is no file') from error


def bug():
    return {}['key']


def bug_raised_again():
    try:
        bug()
    except KeyError as error:
        raise type(error)(f'while building: {error}')  # noqa: B904


def refused_while_handling_an_explained_one():
    try:
        explained()
    except ValueError:
        raise TypeError('model.b: neither fits')  # noqa: B904


def no_such_package():
    try:
        import no_such_package  # noqa: F401
    except ImportError:
        raise ImportError('Please run "pip install no_such_package"')  # noqa: B904


def failed_import():
    import no_such_package  # noqa: F401


def failed_assertion():
    raise AssertionError  # as an assert without a text


def caught(function):
    try:
        function()
    except Exception as error:
        return error


@pytest.mark.parametrize(
    'function',
    [explained, translated, refused_while_handling_an_explained_one, no_such_package],
)
def test_a_raised_sentence_is_explained(function):
    assert is_explained(caught(function))


@pytest.mark.parametrize('function', [bug, bug_raised_again, failed_import, failed_assertion])
def test_a_bug_is_not(function):
    assert not is_explained(caught(function))


def test_a_sentence_is_one_line_and_a_key_error_is_not_quoted():
    assert sentence(KeyError('losses.a:\n   no such')) == 'losses.a: no such'


@pytest.fixture
def command(monkeypatch):
    """``command(function)`` runs a command that does what the function does."""

    def run(function):
        class Module:
            main = staticmethod(lambda argv: function())

        monkeypatch.setattr(cli.importlib, 'import_module', lambda name: Module)
        cli.run('train', [])

    return run


@pytest.mark.parametrize('refuse', [explained, lambda: exit('model.a=1; expected 2')])
def test_the_edge_says_a_sentence_and_ends_with_1(refuse, command, capsys):
    with pytest.raises(SystemExit) as stop:
        command(refuse)
    assert stop.value.code == 1
    assert capsys.readouterr().err == 'mmkd train: model.a=1; expected 2\n'


def test_the_edge_lets_a_bug_through(command):
    with pytest.raises(KeyError) as found:
        command(bug)
    assert 'bug' in traceback.format_tb(found.value.__traceback__)[-1]


def test_a_traceback_can_be_asked_for(command, monkeypatch):
    monkeypatch.setenv('MMKD_TRACEBACK', '1')
    with pytest.raises(ValueError, match='expected 2'):
        command(explained)


@pytest.mark.parametrize('rank', ['0', '1'])
def test_under_torchrun_one_process_speaks_and_every_one_leaves_word(
    rank, monkeypatch, capsys, tmp_path
):
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(tmp_path / 'error.json'))
    monkeypatch.setenv('RANK', rank)
    report('train', caught(explained))
    assert bool(capsys.readouterr().err) == (rank == '0')
    assert json.loads((tmp_path / 'error.json').read_text())['message'] == 'model.a=1; expected 2'


def test_a_process_that_lost_another_points_there():
    """Gloo's own message would blame whatever was being built."""

    def lose():
        raise RuntimeError('[transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:1')

    with pytest.raises(RuntimeError) as lost:
        lose()
    assert is_explained(lost.value)
    said = sentence(lost.value)
    assert said.startswith('another process of this run has ended ([transport')
    assert said.endswith('see what it said, on its machine')

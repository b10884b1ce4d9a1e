"""Set-up: what a user who starts from a bare machine meets."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import mmcv
import pytest
from mmengine.utils import digit_version
from packaging.requirements import Requirement
from resolver import resolve

from mmkd.stack import TORCH_MAXIMUM, TORCH_MINIMUM, installed_stack
from mmkd.version import __version__

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / 'requirements'

# Stands in for Python and pip: it writes each pip call to calls.txt, and fails those that match
# $FAIL with the text $PIP_SAYS. `-m venv --clear DIR` puts a copy of itself into DIR.
STUB_PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) echo 3.11 ;;
    '-m venv'*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    '-m pip install'*)
        echo "$*" >> calls.txt
        ! echo "$*" | grep -q -e "${FAIL:-nothing fails}" || { echo "$PIP_SAYS" >&2; exit 1; } ;;
esac
"""


@pytest.fixture
def repo(tmp_path):
    """A copy of what the set-up reads, with a stub Python beside it."""
    repo = tmp_path / 'repo'
    shutil.copytree(REQUIREMENTS, repo / 'requirements')
    shutil.copytree(ROOT / 'tools/dev', repo / 'tools/dev')
    shutil.copy(ROOT / 'setup.py', repo)
    write_script(repo / 'stub_python', STUB_PYTHON)
    return repo


def write_script(path, text):
    path.write_text(text)
    path.chmod(0o755)


def set_up(repo, **env):
    """Run the set-up; return its exit code, what it says on stderr, and its pip calls."""
    calls = repo / 'calls.txt'
    calls.write_text('')
    done = subprocess.run(
        [shutil.which('sh'), 'tools/dev/setup_env.sh'],
        cwd=repo,
        env={'PATH': os.environ['PATH'], 'PYTHON': './stub_python', **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stderr, calls.read_text().splitlines()


def assert_one_sentence(stderr, *words):
    assert stderr.startswith('mmkd set-up: ')
    assert stderr.count('\n') == 1
    for word in words:
        assert word in stderr


def path_without_compiler(tmp_path):
    tools = tmp_path / 'bin'
    tools.mkdir()
    for tool in ('sh', 'cat', 'cksum', 'cp', 'dirname', 'grep', 'mkdir', 'rm', 'sed', 'tail'):
        (tools / tool).symlink_to(shutil.which(tool))
    return str(tools)


@pytest.mark.parametrize(
    'script', ['#!/bin/sh\necho 3.9\n', '#!/bin/sh\nexit 127\n'], ids=['too old', 'broken shim']
)
def test_unfit_python_is_refused(repo, script):
    write_script(repo / 'python3', script)
    code, stderr, calls = set_up(repo, PYTHON='./python3')
    assert code == 1
    assert_one_sentence(stderr, 'PYTHON=./python3', '3.10, 3.11 or 3.12')
    assert not calls


def test_python_is_chosen_by_running_it(repo, tmp_path):
    path = path_without_compiler(tmp_path)
    write_script(tmp_path / 'bin/python3.11', '#!/bin/sh\nexit 127\n')
    write_script(tmp_path / 'bin/python3', STUB_PYTHON)
    code, stderr, calls = set_up(repo, PATH=path, PYTHON='')
    assert code == 0, stderr
    assert calls


def test_no_python_is_one_sentence(repo, tmp_path):
    code, stderr, _ = set_up(repo, PATH=path_without_compiler(tmp_path), PYTHON='')
    assert code == 1
    assert_one_sentence(stderr, 'no Python 3.10, 3.11 or 3.12 found')


def test_missing_venv_module_is_one_sentence(repo):
    broken = STUB_PYTHON.replace(
        'mkdir -p "$4/bin"', 'echo "a long text" && echo "no ensurepip" && false'
    )
    write_script(repo / 'stub_python', broken)
    code, stderr, _ = set_up(repo)
    assert code == 1
    assert_one_sentence(stderr, 'install its venv module', 'python3.11-venv', 'no ensurepip')


def test_missing_compiler_is_named_before_the_long_download(repo, tmp_path):
    path = path_without_compiler(tmp_path)
    code, stderr, calls = set_up(repo, PATH=path, FAIL='--only-binary mmcv')
    assert code == 1
    assert_one_sentence(stderr, 'no C++ compiler', 'PIP_FIND_LINKS')
    assert not any('dev.txt' in call for call in calls)


def test_compiler_is_not_needed_where_a_wheel_is_found(repo, tmp_path):
    code, stderr, calls = set_up(repo, PATH=path_without_compiler(tmp_path))
    assert code == 0, stderr
    assert not any('--no-binary mmcv' in call for call in calls)


def test_unreachable_index_is_one_sentence(repo):
    code, stderr, _ = set_up(
        repo,
        PYTHON=sys.executable,
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL='http://127.0.0.1:9',
        PIP_RETRIES='0',
    )
    assert code == 1
    assert_one_sentence(stderr, 'cannot reach its package index', '.venv/setup.log')
    assert 'connection error' in (repo / '.venv/setup.log').read_text()


def test_pips_last_error_is_quoted(repo):
    says = 'a long text\nERROR: first\nERROR: No space left on device\na notice'
    code, stderr, _ = set_up(repo, FAIL='dev.txt', PIP_SAYS=says)
    assert code == 1
    assert_one_sentence(stderr, "pip ended with 'No space left on device'", '.venv/setup.log')


def test_failed_compilation_says_what_it_needs(repo):
    stub = STUB_PYTHON.replace('esac', '    -) false ;;\nesac')
    write_script(repo / 'stub_python', stub)
    code, stderr, _ = set_up(repo, CXX='c++', FAIL='--no-binary mmcv')
    assert code == 1
    assert_one_sentence(stderr, 'compiling mmcv failed', 'python3.11-dev', 'MAX_JOBS', 'CUDA')


def test_mmcv_without_working_ops_is_compiled_against_the_installed_torch(repo):
    # The check of the ops is the only script that comes on stdin: `python -`.
    stub = STUB_PYTHON.replace('esac', '    -) [ -e compiled ] ;;\nesac').replace(
        'echo "$*" >> calls.txt',
        'echo "$*" >> calls.txt; case "$*" in *--no-binary*) touch compiled ;; esac',
    )
    write_script(repo / 'stub_python', stub)
    code, stderr, calls = set_up(repo, CXX='c++')
    assert code == 0, stderr
    (compiling,) = [i for i, call in enumerate(calls) if '--no-binary mmcv' in call]
    assert '--no-build-isolation' in calls[compiling]
    assert '--no-cache-dir' in calls[compiling]  # the cache may hold an mmcv without ops
    assert any('dev.txt' in call for call in calls[:compiling])  # torch first


@pytest.mark.parametrize('header', ['compiles', 'fails'])
def test_mmcv_is_compiled_with_torchs_headers_read_before_or_as_ever(repo, header):
    # On stdin come the check of the ops, which fails once, and the folders of torch's headers.
    stub = STUB_PYTHON.replace(
        'esac', '    -) echo >> asked; echo "\'-I/the torch\'"; [ $(wc -l < asked) != 1 ] ;;\nesac'
    ).replace('echo "$*" >> calls.txt', 'echo "$*" >> calls.txt; echo "${CFLAGS:-}" > cflags.txt')
    write_script(repo / 'stub_python', stub)
    compiler = 'printf "%s\\n" "$@" > cxx.txt; ' + ('true' if header == 'compiles' else 'false')
    write_script(repo / 'cxx', f'#!/bin/sh\n{compiler}\n')
    code, stderr, calls = set_up(repo, CXX='./cxx')
    assert code == 0, stderr
    assert any('--no-binary mmcv' in call for call in calls)
    header_file = f'{repo}/.venv/precompiled/torch_types.h'
    arguments = (repo / 'cxx.txt').read_text().splitlines()
    assert '-I/the torch' in arguments
    assert arguments[-3:] == [header_file, '-o', f'{header_file}.gch']
    found = (repo / 'cflags.txt').read_text().split()
    if header == 'fails':
        assert not found
    else:
        # A header is read by a compiler that is given the same options only.
        assert found[-2:] == ['-include', header_file]
        assert set(found[:-2]) <= set(arguments)


def test_other_stack_has_its_own_environment(repo):
    code, stderr, calls = set_up(repo, STACK='onedl')
    assert code == 0, stderr
    assert not (repo / '.venv').exists()
    assert (repo / '.venv-onedl/setup.stamp').exists()
    assert any('dev.txt -r requirements/onedl.txt' in call for call in calls)
    installed = {word for call in calls for word in call.split() if word.endswith('.txt')}
    assert 'requirements/onedl-mmcv.txt' in installed
    assert not installed & {'requirements/mmcv.txt', 'requirements/openmmlab.txt'}
    assert set_up(repo, STACK='onedl') == (0, '', [])


@pytest.mark.parametrize(
    ('stack', 'python'), [('', '.venv'), ('openmmlab', '.venv'), ('onedl', '.venv-onedl')]
)
def test_make_uses_the_environment_that_set_up_makes(stack, python):
    makes = subprocess.run(
        ['make', '-n', 'demo', f'STACK={stack}'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f'\n{python}/bin/python -m mmkd demo' in makes.stdout


def test_unknown_stack_is_one_sentence(repo):
    code, stderr, calls = set_up(repo, STACK='openmm')
    assert code == 1
    assert_one_sentence(stderr, 'STACK=openmm', 'openmmlab or onedl')
    assert not calls


def test_second_call_does_nothing(repo):
    code, stderr, calls = set_up(repo)
    assert code == 0, stderr
    assert calls
    for path in repo.glob('requirements/*'):  # as in a fresh clone: new times, same content
        path.touch()
    assert set_up(repo) == (0, '', [])


@pytest.mark.parametrize('name', ['requirements/constraints.txt', 'tools/dev/setup_env.sh'])
def test_changed_file_sets_up_again(repo, name):
    set_up(repo)
    with (repo / name).open('a') as file:
        file.write('# changed\n')
    _, _, calls = set_up(repo)
    assert any('dev.txt' in call for call in calls)


@pytest.mark.parametrize('failing', ['dev.txt', '-e .'])
def test_broken_off_set_up_is_resumed(repo, failing):
    assert set_up(repo, FAIL=failing)[0] == 1
    assert not (repo / '.venv/setup.stamp').exists()
    (repo / '.venv/made-once').touch()
    code, _, calls = set_up(repo)
    assert code == 0
    assert '-e .' in calls[-1]
    assert (repo / '.venv/made-once').exists()


def test_failing_change_invalidates_the_old_stamp(repo):
    set_up(repo)
    constraints = repo / 'requirements/constraints.txt'
    before = constraints.read_text()
    constraints.write_text(before + '# changed\n')
    set_up(repo, FAIL='dev.txt')
    constraints.write_text(before)
    assert set_up(repo)[2]


def test_other_python_than_the_venv_holds_is_refused(repo):
    set_up(repo)
    write_script(repo / 'other', STUB_PYTHON.replace('echo 3.11', 'echo 3.12'))
    code, stderr, calls = set_up(repo, PYTHON='./other')
    assert code == 1
    assert_one_sentence(stderr, 'holds Python 3.11', 'make clean')
    assert not calls


@pytest.mark.parametrize(
    ('env', 'kept'),
    [({}, ['/a', '/b']), ({'PIP_FIND_LINKS': '/from/env /too'}, ['/from/env', '/too'])],
    ids=['configuration', 'environment'],
)
def test_ci_keeps_pips_find_links(tmp_path, env, kept):
    repo = tmp_path / 'repo'
    shutil.copytree(ROOT / '.ci', repo / '.ci')
    wheels = tmp_path / 'shared/wheels'
    wheels.mkdir(parents=True)
    bin_dir = tmp_path / 'bin'
    bin_dir.mkdir()
    write_script(bin_dir / 'make', '#!/bin/sh\necho "make $*: $PIP_FIND_LINKS"\n')
    write_script(bin_dir / 'python3', f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / 'pip.conf').write_text('[global]\nfind-links =\n  /a\n  /b\n')
    ran = subprocess.run(
        ['bash', '.ci/run'],
        cwd=repo,
        env={
            'PATH': f'{bin_dir}:{os.environ["PATH"]}',
            'HOME': str(tmp_path),
            'PIP_CONFIG_FILE': str(tmp_path / 'pip.conf'),
            **env,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    command, links = ran.stdout.split(':', 1)
    assert command == 'make test'
    assert links.split() == [*kept, str(wheels)]


def read_requirements(path):
    lines = path.read_text().splitlines()
    return [Requirement(line) for line in lines if line and line[0] not in '#-']


@pytest.mark.parametrize('python', ['3.10', '3.11', '3.12'])
def test_pins_are_exact_and_within_the_ranges(python):
    pins = {}
    for pin in read_requirements(REQUIREMENTS / 'constraints.txt'):
        if pin.marker is None or pin.marker.evaluate({'python_version': python}):
            assert re.fullmatch(r'==[^*,]+', str(pin.specifier)), pin
            assert pin.name not in pins, f'{pin.name} is pinned twice for Python {python}'
            pins[pin.name] = str(pin.specifier).removeprefix('==')
    for file in set(REQUIREMENTS.glob('*.txt')) - {REQUIREMENTS / 'constraints.txt'}:
        for requirement in read_requirements(file):
            assert pins[requirement.name] in requirement.specifier, (file.name, str(requirement))


def packaging_of(*options):
    done = subprocess.run(
        [sys.executable, 'setup.py', *options], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-1]


def test_package_has_the_version_of_the_module():
    assert packaging_of('--version') == __version__


def test_torch_range_checked_at_import_is_that_of_the_requirements():
    runtime = {r.name: r.specifier for r in read_requirements(REQUIREMENTS / 'runtime.txt')}
    assert str(runtime['torch']) == f'<{TORCH_MAXIMUM},>={TORCH_MINIMUM}'


@pytest.mark.parametrize(
    ('state', 'says'),
    [
        ('sys.modules["mmcv._ext"] = None', [f'found mmcv: {mmcv.__version__}']),
        ('sys.modules["mmcv"] = None', ['found mmcv: none']),
        ('import mmcv; mmcv.__version__ = "2.2.0"', ['found mmcv: 2.2.0']),
        (
            'import torch; torch.__version__ = "2.15.0"; sys.modules["mmcv._ext"] = None',
            ['pip install "torch>=2.4,<2.14"', 'does not compile against torch 2.15.0'],
        ),
    ],
    ids=['no ops', 'no mmcv', 'mmcv too new', 'torch too new'],
)
def test_import_says_how_to_mend_mmcv(state, says):
    done = subprocess.run(
        [sys.executable, '-c', f'import sys; {state}; import mmkd'],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    last = done.stderr.splitlines()[-1]
    stack = installed_stack()
    wanted = f'{stack.mmcv}>={stack.mmcv_minimum},<{stack.mmcv_maximum}'
    assert last.startswith(f'ImportError: mmkd needs {wanted}')
    assert 'pip uninstall -y mmcv mmcv-lite' in last
    tested = f'{stack.mmcv}=={stack.mmcv_tested}'
    assert f'pip install --no-build-isolation --no-cache-dir {tested}' in last
    for words in says:
        assert words in last


def test_import_does_not_blame_mmcv_for_another_package():
    done = subprocess.run(
        [sys.executable, '-c', 'import sys; sys.modules["cv2"] = None; import mmkd'],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert 'cv2' in done.stderr.splitlines()[-1]
    assert 'mmkd needs mmcv' not in done.stderr


# What README says to write in its pip lines for the other stack.
ONEDLS_WORDS = {'mmcv': 'onedl-mmcv', '.[openmmlab]': '.[onedl]'}


def readme_pip_lines(stack):
    """README's own pip commands for a stack, as lists of arguments."""
    text = (ROOT / 'README.md').read_text().splitlines()
    lines = [shlex.split(line, comments=True) for line in text if line.startswith('pip install')]
    assert len(lines) == 3
    if stack == 'onedl':
        lines = [[ONEDLS_WORDS.get(word, word) for word in line] for line in lines]
    return lines


def test_readmes_pip_lines_install_the_tested_versions():
    lines = readme_pip_lines('openmmlab')
    for line in lines:
        assert line[2:4] == ['-c', 'requirements/constraints.txt']
    pins = {pin.name: pin.specifier for pin in read_requirements(REQUIREMENTS / 'constraints.txt')}
    assert {'torch', 'torchvision', 'mmcv', 'onedl-mmcv'} <= pins.keys()
    # mmcv's setup.py imports pkg_resources.
    (setuptools,) = pins['setuptools']
    assert digit_version(setuptools.version) < digit_version('80')


def test_readme_says_what_to_write_for_the_other_stack():
    readme = (ROOT / 'README.md').read_text()
    words = [word for line in readme_pip_lines('openmmlab') for word in line]
    for default, other in ONEDLS_WORDS.items():
        assert words.count(default) == 1
        assert f'`{other}`' in readme


@pytest.mark.full
@pytest.mark.parametrize(
    ('stack', 'index'), [('', 0), ('openmmlab', 1), ('openmmlab', 2), ('onedl', 1), ('onedl', 2)]
)
def test_pips_resolver_takes_readmes_lines_as_typed(stack, index):
    line = readme_pip_lines(stack)[index]
    # The first starts from nothing; the others from what it has installed.
    start = ['--ignore-installed'] if index == 0 else []
    report = json.loads(resolve(sys.executable, line, '--report', '-', *start))
    found = {x['metadata']['name']: x['metadata']['version'] for x in report['install']}
    if index == 0:
        assert digit_version(TORCH_MINIMUM) <= digit_version(found['torch'])
        assert digit_version(found['torch']) < digit_version(TORCH_MAXIMUM)

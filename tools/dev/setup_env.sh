#!/bin/sh
# Set up .venv: the pinned requirements, mmcv with its compiled ops, and mmkd itself (editable).
# The Makefile calls this before every target; it does nothing while .venv/setup.stamp is current.
#
#   STACK            openmmlab, the default, or onedl: its forks, in .venv-onedl (docs/stacks.md)
#   PYTHON           the Python 3.10 to 3.12 to use; else the first found that runs
#   PIP_FIND_LINKS   and pip's other variables work as always, e.g. to name a folder of wheels
#   MAX_JOBS         how many compilers to run at once; less takes less memory
set -eu
cd "$(dirname "$0")/../.."

say() { echo "mmkd set-up: $1"; }

die() {
    say "$1" >&2
    exit 1
}

stack=${STACK:-openmmlab}
case $stack in
    openmmlab) venv=.venv mmcv=mmcv ;;
    onedl) venv=.venv-onedl mmcv=onedl-mmcv ;;
    *) die "STACK=$stack is none that mmkd runs on: name openmmlab or onedl, or leave it unset" ;;
esac
py=$venv/bin/python
log=$venv/setup.log
stamp=$venv/setup.stamp

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

supported() {
    case "$(version "$1")" in
        3.10 | 3.11 | 3.12) ;;
        *) false ;;
    esac
}

# Prints what to run. Versions are tried by running them: a pyenv shim exists and fails.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        supported "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.10, 3.11 or 3.12 that runs:\
 name one that is, or leave PYTHON unset"
        echo "$PYTHON"
        return
    fi
    for candidate in python3.11 python3.12 python3.10 python3; do
        if supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    die 'no Python 3.10, 3.11 or 3.12 found: install one, or name it with PYTHON=/path/to/python3'
}

pip_install() {
    "$py" -m pip install --no-input --disable-pip-version-check --log "$log" \
        -c requirements/constraints.txt "$@" >/dev/null 2>>"$log"
}

# Ends with what failed and what to do about it, the latter in $2 or in pip's words.
die_of_pip() {
    if grep -Eq 'Could not fetch .*(connection error|timed out|ssl)|Retrying \(|TimeoutError' "$log"; then
        set -- "$1" "pip cannot reach its package index, so check the network and pip's settings, or\
 name a folder that holds the wheels in PIP_FIND_LINKS"
    fi
    die "$1: ${2:-pip ended with '$(sed -n 's/.*ERROR: //p' "$log" | tail -n 1)'} (log: $log)"
}

need_compiler() {
    [ -n "${CXX:-}" ] || CXX=$(command -v c++ || command -v g++ || command -v clang++) ||
        die "no C++ compiler found, which mmcv needs: install one (Debian, Ubuntu: the package g++),\
 or name a folder that holds an mmcv wheel for this Python and torch in PIP_FIND_LINKS"
    export CXX
}

# An mmcv without ops, or with ops for another torch, installs and imports all the same.
mmcv_ops_work() {
    "$py" - >>"$log" 2>&1 <<'PYTHON'
import torch
from mmcv.ops import nms

device = 'cuda' if torch.cuda.is_available() else 'cpu'
boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]], device=device)
_, keep = nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=device), iou_threshold=0.5)
if keep.tolist() != [0, 2]:
    raise SystemExit(f'mmcv.ops.nms kept boxes {keep.tolist()}, expected [0, 2]')
PYTHON
}

# Nearly all of mmcv's compile time goes into parsing torch's headers, which are the same for each of
# its files: read them once, and leave out debugging information. Sets CFLAGS, which replace Python's
# own. A compiler ignores a precompiled header that does not fit and reads the ordinary one, so that
# it costs nothing where this fails.
precompile_torch() {
    folder=$(pwd)/$venv/precompiled
    flags='-pthread -DNDEBUG -O2 -fwrapv -g0'
    case $folder in
        *[[:space:]]*) return 0 ;; # CFLAGS are split at spaces
    esac
    mkdir -p "$folder"
    echo '#include <torch/types.h>' >"$folder/torch_types.h"
    includes=$("$py" - 2>>"$log" <<'PYTHON'
import shlex
import sysconfig

from torch.utils.cpp_extension import include_paths

print(shlex.join(f'-I{path}' for path in [*include_paths(), sysconfig.get_path('include')]))
PYTHON
    ) || return 0
    # The options of torch's BuildExtension, since a header is valid under the same only.
    # shellcheck disable=SC2086
    eval "$CXX" $flags -fPIC -std=c++17 -DTORCH_API_INCLUDE_EXTENSION_H \
        -DTORCH_EXTENSION_NAME=_ext "$includes" -x c++-header "'$folder/torch_types.h'" \
        -o "'$folder/torch_types.h.gch'" 2>>"$log" || return 0
    export CFLAGS="$flags -include $folder/torch_types.h"
}

python=$(find_python)
wanted=$(cat requirements/*.txt setup.py tools/dev/setup_env.sh | cksum; pwd)

if "$py" -m pip --version >/dev/null 2>&1; then
    if ! supported "$py" || [ "$(version "$py")" != "$(version "${PYTHON:-$py}")" ]; then
        die "$venv holds Python $(version "$py"): remove it with make clean, then run again"
    fi
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || exit 0
else
    say "making $venv with $python"
    output=$("$python" -m venv --clear "$venv" 2>&1) ||
        die "$python cannot make a virtual environment: install its venv module (Debian, Ubuntu: the\
 package python$(version "$python")-venv) and run again; it said: $(echo "$output" | tail -n 1)"
fi
rm -f "$stamp"
: >"$log"

# A ready wheel where pip finds one; if not, ask for the compiler before the long download.
pip_install --no-deps --only-binary $mmcv -r requirements/$mmcv.txt || need_compiler
say "installing the pinned requirements, torch among them: several GB the first time (log: $log)"
pip_install -r requirements/dev.txt -r "requirements/$stack.txt" ||
    die_of_pip "installing requirements/dev.txt and requirements/$stack.txt failed"
# mmengine asks for opencv-python, which needs the system's libGL; the headless one is the same cv2.
"$py" -c 'import cv2' 2>>"$log" ||
    pip_install --no-deps --force-reinstall opencv-python-headless ||
    die_of_pip 'installing opencv-python-headless failed'
if ! mmcv_ops_work; then
    need_compiler
    say "compiling $mmcv with its ops: about 5 minutes on 2 cores, more for CUDA (log: $log)"
    precompile_torch
    # Not from pip's cache, which may hold an mmcv that was built without ops.
    pip_install --no-deps --no-build-isolation --no-binary $mmcv --no-cache-dir \
        --force-reinstall -r requirements/$mmcv.txt ||
        die_of_pip 'compiling mmcv failed' "it needs the headers of Python (Debian, Ubuntu: the\
 package python$(version "$py")-dev), about 2 GB of memory for each of MAX_JOBS compilers and, where\
 torch sees a GPU, the CUDA toolkit of torch's CUDA version"
    rm -rf "$venv/precompiled" # 400 MB
    mmcv_ops_work || die "mmcv compiled but its ops do not work: see the end of the log $log"
fi
pip_install --no-deps --no-build-isolation -e . || die_of_pip 'installing mmkd itself failed'
"$py" -c 'import mmdet, mmpretrain' >>"$log" 2>&1 ||
    die "mmdet and mmpretrain do not import: make clean and run again, or see the end of the log $log"
echo "$wanted" >"$stamp"
say 'done'

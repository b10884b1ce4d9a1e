"""Freed memory stays with a training on the CPU."""

import ctypes
import multiprocessing
import platform
import resource

import pytest
from freed_memory import MIB, measure
from processes import PRELOADED

from mmkd.engine import memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='malloc is another one')


def measured(**environment):
    """What :func:`measure` sends from a process whose malloc no training before has told."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=measure, args=(there, environment))
    process.start()
    process.join(60)
    return here.recv()


def test_a_large_tensor_takes_the_place_of_the_last_one():
    pages = MIB * 2**20 // resource.getpagesize()
    before, kept, after = measured()
    assert kept
    assert before >= pages
    assert after < pages / 100


@pytest.mark.parametrize(
    'environment',
    [{'MALLOC_ARENA_MAX': '2'}, {'GLIBC_TUNABLES': 'glibc.malloc.tcache_count=1'}],
)
def test_what_the_environment_says_of_malloc_stands(environment):
    _, kept, after = measured(**environment)
    assert not kept
    assert after >= MIB * 2**20 // resource.getpagesize()


def test_a_gpu_and_another_c_library_have_nothing_to_keep(monkeypatch):
    monkeypatch.setattr(memory, 'get_device', lambda: 'cuda')
    assert not memory.keep_freed_memory()
    monkeypatch.setattr(memory, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: object())
    assert not memory.keep_freed_memory()

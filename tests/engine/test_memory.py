"""Freed memory stays with a training on the CPU."""

import ctypes
import multiprocessing
import os
import platform
import resource

import pytest
import torch

from mmkd.engine import memory

MIB = 64
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='malloc is another one')


def faults_of_a_tensor():
    """Pages that the system gave for a tensor, of which there have been others before."""
    for _ in range(3):
        torch.ones(MIB * 2**18)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(MIB * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def measure(connection):
    torch.set_num_threads(1)
    # Another test may have told the process that this one was forked from.
    ctypes.CDLL(None).mallopt(-3, 2**17)
    before = faults_of_a_tensor()
    connection.send((before, memory.keep_freed_memory(), faults_of_a_tensor()))


@pytest.fixture
def measured(monkeypatch):
    """What :func:`measure` sends from a process of its own: malloc cannot be told back."""
    monkeypatch.setattr(memory, 'get_device', lambda: 'cpu')

    def run(**environment):
        for name in [name for name in os.environ if name.startswith('MALLOC_')]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context('fork').Process(target=measure, args=(there,))
        process.start()
        process.join(60)
        return here.recv()

    return run


def test_a_large_tensor_takes_the_place_of_the_last_one(measured):
    pages = MIB * 2**20 // resource.getpagesize()
    before, kept, after = measured()
    assert kept
    assert before >= pages
    assert after < pages / 100


@pytest.mark.parametrize(
    'environment',
    [{'MALLOC_ARENA_MAX': '2'}, {'GLIBC_TUNABLES': 'glibc.malloc.tcache_count=1'}],
)
def test_what_the_environment_says_of_malloc_stands(measured, environment):
    _, kept, after = measured(**environment)
    assert not kept
    assert after >= MIB * 2**20 // resource.getpagesize()


def test_a_gpu_and_another_c_library_have_nothing_to_keep(monkeypatch):
    monkeypatch.setattr(memory, 'get_device', lambda: 'cuda')
    assert not memory.keep_freed_memory()
    monkeypatch.setattr(memory, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: object())
    assert not memory.keep_freed_memory()

"""What malloc does with freed memory, measured in forked processes, which import this by name."""

import os
import resource

import torch

from mmkd.engine import memory

MIB = 64


def faults_of_a_tensor():
    """Pages that the system gave for a tensor, of which there have been others before."""
    for _ in range(3):
        torch.ones(MIB * 2**18)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(MIB * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def measure(connection, environment):
    """Send the pages before and after malloc is told, and whether it was."""
    torch.set_num_threads(1)
    for name in [name for name in os.environ if name.startswith('MALLOC_')]:
        del os.environ[name]
    os.environ.update(environment)
    memory.get_device = lambda: 'cpu'
    before = faults_of_a_tensor()
    connection.send((before, memory.keep_freed_memory(), faults_of_a_tensor()))

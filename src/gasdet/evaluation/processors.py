"""Processors, shared between the model and the decode processes."""

from __future__ import annotations

import os
import sys


def available_cpus() -> int:
    """How many processors this process may use: by affinity and, in a container, by its quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        return max(1, min(count, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such file, or the quota is "max"
        return count


def wait_passively() -> None:
    """Let OpenMP's threads sleep when they wait for one another. To be called before anything imports torch.

    They would burn the time that decoding needs (it matters most on few processors: docs/decisions/0002-decode-processes.md
    has the figures). A setting of the user's stays.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def share_processors() -> None:
    """Make torch a good neighbour of the decode processes: passive, and on no more processors than this process may use."""
    wait_passively()
    import torch

    if torch.get_num_threads() > available_cpus():
        torch.set_num_threads(available_cpus())

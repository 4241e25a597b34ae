"""
A core for the servers and another one for what is measured.

On one core they would empty each other's caches between question and answer, which no server does on the other side of a
network; and a process that is moved from core to core takes longer, now and then, for the same work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def for_servers() -> Iterator[None]:
    """What is started here has all cores but the last; behind it this process, and what it starts then, has the last one."""
    cores = _ours()
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[:-1])
    try:
        yield
    finally:
        if len(cores) > 1:
            os.sched_setaffinity(0, cores[-1:])


@contextmanager
def given_back() -> Iterator[None]:
    """Behind it this process has the cores again that it had before."""
    cores = _ours()
    try:
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, cores)


def _ours() -> list[int]:
    """Empty where the system gives no core to a process: then nothing is done."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

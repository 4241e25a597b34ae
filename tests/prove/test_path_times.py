"""G1, G3, G4: what a hit costs, from memory and from the table, and what a miss costs beyond the backend's own time."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from figures import record
from prove.hooks import prose
from prove.timing import GROSSLY, Times, receipts_go_out

pytestmark = [pytest.mark.prove, pytest.mark.alone]


def test_a_memory_hit(hook_on):
    """G1: 20 KB of prompt, no image."""
    hook, prompt = hook_on(), prose(20_000)
    hook(prompt)
    times = Times.of(lambda _: hook(prompt), 4_000)
    met = times.ms(0.5) <= 0.5 and times.ms(0.99) <= 2 and times.per_second >= 2_000
    record(
        "G1",
        "memory hit, 20 KB prompt, no image",
        "p50 <= 0.5 ms, p99 <= 2 ms, >= 2000/s",
        f"{times}, {times.per_second:.0f}/s",
        met=met,
        note=f"whole handler with its receipt, one caller, 4000 calls; CPU {times.cpu_ms:.2f} ms each",
    )

    assert 1 == hook.asked
    assert times.ms(0.5) <= 0.5 * GROSSLY


def test_a_table_hit(hook_on):
    """G3: an answer of 5 KB that no memory tier holds; one caller for the times, four for the rate."""
    hook = hook_on(HOOKCACHE_MEMORY_BYTES="1")
    prompt, callers, calls = prose(2_000), 4, 1_200
    hook(prompt)
    times = Times.of(lambda _: hook(prompt), 1_500)
    with receipts_go_out(), ThreadPoolExecutor(callers) as pool:
        started = time.perf_counter()
        list(pool.map(lambda _: hook(prompt), range(calls)))
        rate = calls / (time.perf_counter() - started)
    record(
        "G3",
        "table hit, 5 KB answer",
        "p50 <= 4 ms, p99 <= 15 ms, >= 400/s",
        f"{times}, {rate:.0f}/s",
        met=times.ms(0.5) <= 4 and times.ms(0.99) <= 15 and rate >= 400,
        note=f"dynoxide; times of one caller, rate of {callers} in one process; CPU {times.cpu_ms:.2f} ms each",
    )

    assert 1 == hook.asked
    assert times.ms(0.5) <= 4 * GROSSLY


def test_what_a_miss_adds(hook_on):
    """G4: lease, second look, index, entry and release, around a backend that answers at once."""
    hook, calls = hook_on(), 400
    prompts = [f"{uuid.uuid4().hex} {prose(2_000)}" for _ in range(calls + 1)]
    times = Times.of(lambda number: hook(prompts[number]), calls)
    record(
        "G4",
        "added on a miss, all table work",
        "p50 <= 12 ms, p99 <= 40 ms",
        str(times),
        met=times.ms(0.5) <= 12 and times.ms(0.99) <= 40,
        note=f"dynoxide; 5 KB answers, one caller, backend of 0 s; CPU {times.cpu_ms:.2f} ms each",
    )

    assert calls + 1 == hook.asked
    assert times.ms(0.5) <= 12 * GROSSLY

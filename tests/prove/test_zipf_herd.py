"""
G6, G15: 200 callers, 20 keys of unequal popularity, entries that end meanwhile: exactly one call for each key and expiry.

Who asks for what is drawn beforehand, so the number of calls is known before the first is made. Between the phases the
clocks of all processes are put on past every entry's life: each phase begins with 200 callers before expired entries.
"""

from __future__ import annotations

import multiprocessing
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import quantiles
from typing import Any

import pytest

from concurrency.conftest import engine_url as engine_url
from concurrency.conftest import fleet_of as fleet_of
from concurrency.fleet import Fleet, Worker
from figures import record
from prove import zipf_worker

pytestmark = [pytest.mark.prove, pytest.mark.alone, pytest.mark.timeout(600)]

CALLERS, PROCESSES, KEYS = 200, 4, 20
FRESH_SECONDS = 3_600
BACKEND_SECONDS = 0.3
PAUSE_SECONDS = 0.5


@contextmanager
def crowd(fleet: Fleet, **settings: str) -> Iterator[list[Worker]]:
    """Processes over the fleet's table and backend, ended with the block."""
    context = multiprocessing.get_context("forkserver")
    workers = []
    try:
        for _ in range(PROCESSES):
            ours, theirs = context.Pipe()
            told = (theirs, {**fleet.environ, **settings}, fleet.backend.port)
            process = context.Process(target=zipf_worker.main, args=told, daemon=True)
            process.start()
            theirs.close()
            workers.append(Worker(process, ours))
        for each in workers:
            assert "ready" == each.told()
        yield workers
    finally:
        for each in workers:
            each.end()


class Tally:
    """What all callers were told, over all phases."""

    def __init__(self) -> None:
        self.made = self.pages = 0
        self.errors: list[str] = []
        self.answers: list[Counter[tuple[str, int]]] = []
        self.endings: Counter[str] = Counter()
        self.took: list[float] = []

    def add(self, told: list[dict[str, Any]]) -> None:
        self.answers.append(sum((each["answers"] for each in told), Counter()))
        for each in told:
            self.made, self.pages = self.made + each["made"], self.pages + each["pages"]
            self.errors += each["errors"]
            self.took += each["took"]
            self.endings.update(each["endings"])


def play(fleet: Fleet, workers: list[Worker], plan: list[list[list[str]]]) -> Tally:
    """One phase after the other, each a lifetime later than the one before."""
    tally = Tally()
    for number, callers in enumerate(plan):
        for at, worker in enumerate(workers):
            mine = callers[at :: len(workers)]
            ahead_ms = number * (FRESH_SECONDS + 60) * 1000
            worker._pipe.send({"callers": mine, "ahead_ms": ahead_ms, "pause_seconds": PAUSE_SECONDS})
        tally.add([worker.told(120.0) for worker in workers])
    return tally


def drawn(phases: int, requests: int, seed: int = 6) -> list[list[list[str]]]:
    """For each phase, for each caller, the texts that it asks for: the second is half as popular as the first, and so on."""
    chance, run = random.Random(seed), uuid.uuid4().hex
    texts = [f"Read page {run} {number}" for number in range(KEYS)]
    weights = [1 / rank for rank in range(1, KEYS + 1)]
    return [[chance.choices(texts, weights, k=requests) for _ in range(CALLERS)] for _ in range(phases)]


@pytest.mark.parametrize(("phases", "requests"), [(6, 20)])
def test_calls_are_keys_and_expiries(fleet_of, phases, requests):
    """G6, G15, P23, P31, P32: exactly, and every answer is the one of its phase."""
    fleet = fleet_of()
    fleet.backend.seconds = BACKEND_SECONDS
    plan = drawn(phases, requests)
    asked = [{text for caller in callers for text in caller} for callers in plan]
    keys = len(set().union(*asked))
    expiries = sum(map(len, asked)) - keys
    settings = {"HOOKCACHE_FRESH_SECONDS": str(FRESH_SECONDS), "HOOKCACHE_MEMORY_SECONDS": "1"}
    with crowd(fleet, **settings) as workers:
        tally = play(fleet, workers, plan)
    calls = len(fleet.backend.calls)
    stale = sum(len(texts) != len(phase) for texts, phase in zip(asked, tally.answers, strict=True))
    slowest = quantiles(tally.took, n=100)[98]
    note = f"DynamoDB Local, {PROCESSES} processes, Zipf over {KEYS} keys; scaled from 10 min to {phases} lifetimes"
    record(
        "G6",
        f"{CALLERS} callers, {tally.made} requests: backend calls",
        f"keys + expiries = {keys} + {expiries}, exactly",
        calls,
        "calls",
        met=calls == keys + expiries and not tally.errors,
        note=f"{note}; p99 of all answers {slowest:.2f} s with a backend of {BACKEND_SECONDS} s",
    )
    receipts = tally.endings.total()
    record(
        "G15",
        "units returned = units of the calls made; receipts = invocations",
        "exact",
        f"{tally.pages} = {calls} pages; {receipts} = {tally.made} receipts",
        met=tally.pages == calls and receipts == tally.made == CALLERS * requests * phases,
        note="over the run of G6: "
        + ", ".join(f"{count:,} {ending}" for ending, count in sorted(tally.endings.items())),
    )

    assert [] == tally.errors
    assert keys + expiries == calls
    assert 0 == stale, "in each phase a key has one answer"
    assert calls == tally.pages
    assert CALLERS * requests * phases == tally.made == receipts

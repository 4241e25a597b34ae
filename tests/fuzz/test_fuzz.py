"""Odd inputs at every border: nothing but the declared errors arises. What was found stands as a test of its module."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from figures import record
from fuzz.targets import TARGETS, single_edits

SECONDS = int(os.environ.get("HOOKCACHE_FUZZ_SECONDS", "25"))
GUIDED = Path(__file__).with_name("guided.py")


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def try_single_edits(name: str) -> int:
    """How many inputs of one edit a target was given, all of them unless one is a finding."""
    tried = 0
    for tried, data in enumerate(single_edits(name), start=1):  # noqa: B007
        TARGETS[name](data)
    return tried


def fuzz(name: str, count: int) -> None:
    examples(count)(given(st.binary(max_size=48))(TARGETS[name]))()


@pytest.mark.parametrize("name", TARGETS)
def test_only_declared_errors_leave(name):
    """B1 to B22, F12, F13, P6, P14, P51, P52: an odd input is handled, or refused in the declared way."""
    fuzz(name, 400)


@pytest.mark.parametrize("name", ["event", "value"])
def test_a_missing_bound_is_found(name, monkeypatch):
    """B3, negative control: without the bound on depth, the same inputs end in Python's own recursion error."""
    monkeypatch.setattr("hookcache.canonical.MAX_DEPTH", 10**9)

    with pytest.raises(RecursionError):
        try_single_edits(name)


def test_a_tag_that_is_not_checked_is_found(monkeypatch):
    """P6, negative control: an item that nobody sealed is noticed once the tag is not."""
    monkeypatch.setattr("hookcache.sealer.Sealer._verify", lambda *_: None)

    with pytest.raises(AssertionError, match="nobody sealed"):
        try_single_edits("entry")


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", TARGETS)
def test_every_single_edit(name):
    """B1 to B22, F12, F13, P6: each place of each sample input removed, and replaced by each odd value."""
    assert try_single_edits(name) > 1_000


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_fuzzing_led_by_coverage():
    """
    B1 to B22, F12, F13, P6: inputs that reach new code are kept and changed further.

    Where atheris has no release, the same targets get random bytes instead.
    """
    if find_spec("atheris") is None:
        for name in TARGETS:
            fuzz(name, 3_000)
        record("fuzz", "inputs without a finding", "no finding", 3_000 * len(TARGETS), met=True, note="random bytes")
        return

    def guided(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(GUIDED), name, "--seconds", str(SECONDS)]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 120)

    with ThreadPoolExecutor(2) as pool:
        done = dict(zip(TARGETS, pool.map(guided, TARGETS), strict=True))
    for name, run in done.items():
        assert run.returncode == 0, f"{name}: {run.stderr[-3_000:]}"
    tried = {name: int(re.search(r"number_of_executed_units: (\d+)", run.stderr)[1]) for name, run in done.items()}
    assert min(tried.values()) > 100, tried
    note = "; ".join(f"{name} {count:,}" for name, count in tried.items())
    record("fuzz", "inputs led by coverage", "no finding", sum(tried.values()), met=True, note=note)

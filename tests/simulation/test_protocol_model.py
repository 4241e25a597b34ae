"""
Every state of the lease protocol, with the product's decisions in it; and each guard's absence, which must be noticed.

`P23`-`P26`, `P29`, `P13` and `P17` are checked in every state and at every step (see `protocol_model.py`).
"""

from __future__ import annotations

import time

import pytest

import figures
from hookcache.lease import KIND, LeaseItem, Sight, observed
from simulation.items_double import MemoryItems
from simulation.protocol_model import SKEW_MS, Protocol, Violation, walk

ANSWER = ("put",)
ANSWER_OR_FAILURE = ("put", "release FAILED")
ALL = ("put", "release FAILED", "release REFUSED", "release FREE")


@pytest.mark.parametrize(
    ("callers", "faults", "outcomes", "at_least"),
    [(3, 0, ALL, 1_000), (2, 1, ALL, 10_000), (3, 1, ANSWER_OR_FAILURE, 30_000), (2, 2, ANSWER, 50_000)],
)
def test_every_state_keeps_the_promises(callers, faults, outcomes, at_least):
    """P13, P17, P23-P26, P29: whatever the order of steps, the backend's luck, the fault, and the pair of faults."""
    walked = walk(Protocol(outcomes), callers, faults)

    assert walked.states > at_least
    assert walked.ends > 100


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("outcomes", "told", "at_least"), [(ANSWER, "an answer", 500_000), (ALL, "every outcome", 3_000_000)]
)
def test_every_state_of_three_callers_and_two_faults_keeps_the_promises(outcomes, told, at_least):
    """G16: 3 actors and 2 faults; with a backend that answers, and with one that does whatever a backend does."""
    began = time.process_time()
    walked = walk(Protocol(outcomes), 3, 2)
    seconds = time.process_time() - began
    figures.record(
        "G16",
        f"all states of 3 actors and 2 faults, backend gives {told}",
        "<= 60 s",
        seconds,
        "s of one core",
        met=seconds <= 60,
        note=f"{walked.states} states, {walked.steps} steps, no violation",
    )

    assert walked.states > at_least


# -------------------------------------------------------------------- negative controls


class _Weak(MemoryItems):
    """A table that forgets a condition where `forgets` says so."""

    def forgets(self, kind: str, change: str) -> bool:
        raise NotImplementedError

    def put(self, item, condition="", values=None):
        return super().put(item, "" if self.forgets(item["kind"]["S"], "put") else condition, values)

    def exchange(self, key, kind, change, condition, values, names):
        return super().exchange(key, kind, change, "" if self.forgets(kind, change) else condition, values, names)


class PutsUnconditionally(Protocol):
    class Table(_Weak):
        def forgets(self, kind, change):
            return kind == "ENTRY"

    table = Table


class ReleasesUnconditionally(Protocol):
    class Table(_Weak):
        def forgets(self, kind, change):
            return change.startswith("SET #state = :state,")

    table = Table


class RenewsUnconditionally(Protocol):
    class Table(_Weak):
        def forgets(self, kind, change):
            return change.startswith("SET #end = :end,")

    table = Table


class TakesUnconditionally(Protocol):
    class Table(_Weak):
        def forgets(self, kind, change):
            return change.startswith("SET #state = :held,")

    table = Table


class LooksOnce(Protocol):
    looks_again = False


class ErasesTheEntryOnly(Protocol):
    """An erase that deletes, and leaves neither fence nor tombstone."""

    def _erasing(self, world, replay):
        replay._table.stored.pop((b"k" * 32, "ENTRY"), None)
        return {"eraser": "done"}


class ErasesWithoutFencingTheLease(Protocol):
    """A tombstone under the entry's own fence: a fetch under way has a larger one."""

    def _erasing(self, world, replay):
        return super()._erasing(world._replace(eraser="tomb", eraser_fence=world.eraser_fence + 1), replay) | (
            {"eraser": "done"}
        )


class NeverEnds(Protocol):
    """Leases that hold as long as their item exists."""

    skew_ms = 10**9


class BelievesOldPolls(Protocol):
    """A follower that takes an eventual read for news."""

    def sight(self, item: LeaseItem | None, now: int, since: int) -> Sight:
        return observed(item, now, self.skew_ms)


class BelievesAnyClock(Protocol):
    """Holders that do not say when they last lived, so that an end in the far future is believed."""

    class Table(MemoryItems):
        def exchange(self, key, kind, change, condition, values, names):
            done = super().exchange(key, kind, change, condition, values, names)
            if kind == KIND:
                self.stored[key, kind] = {**self.stored[key, kind], "beat_ms": {"N": "0"}}
            return done

    table = Table


@pytest.mark.parametrize(
    ("weak", "promise", "callers", "faults"),
    [
        (PutsUnconditionally, "P25: an entry or tombstone was replaced", 2, 1),
        (ReleasesUnconditionally, "P25: a caller changed a lease", 2, 1),
        (RenewsUnconditionally, "P25: a caller changed a lease", 2, 1),
        (TakesUnconditionally, "P25|P23", 2, 0),
        (LooksOnce, "P24: a leader asked the backend although", 2, 0),
        (ErasesTheEntryOnly, "P13: an answer that was being fetched", 1, 1),
        (ErasesWithoutFencingTheLease, "P13|P25", 1, 1),
        (NeverEnds, "P26: a follower waits", 2, 1),
        (BelievesOldPolls, "P17: a failure from before", 3, 1),
        (BelievesAnyClock, "P26: a follower waits", 2, 1),
    ],
)
def test_a_missing_guard_is_noticed(weak, promise, callers, faults):
    """Negative control: the same walk without one guard breaks the promise which that guard keeps."""
    with pytest.raises(Violation, match=promise):
        walk(weak(), callers, faults)


def test_a_violation_tells_how_it_came_about():
    """Its message is the way there, one line for each step, with what everybody did and the lease at that moment."""
    with pytest.raises(Violation) as caught:
        walk(LooksOnce(), 2, 0)
    story = str(caught.value).splitlines()

    assert "[start, start]" in story[1]
    assert "look again" in story[-1]
    assert SKEW_MS > 0

"""
Every state of the lease protocol, with the product's decisions in it; and each guard's absence, which must be noticed.

`P23`-`P26`, `P29`, `P13` and `P17` are checked in every state and at every step (see `protocol_model.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

import figures
from hookcache.lease import KIND, LeaseItem, Sight, observed
from simulation.items_double import MemoryItems
from simulation.protocol_model import KNOWN, SKEW_MS, SLEEP_TICKS, START_MS, TICK_MS, Protocol, Violation, World
from simulation.protocol_walk import Graph, walk

ANSWER = ("put",)
ANSWER_OR_FAILURE = ("put", "release FAILED")
ALL = ("put", "release FAILED", "release REFUSED", "release FREE")


@pytest.mark.parametrize(
    ("callers", "faults", "outcomes", "at_least"),
    [(3, 0, ALL, 800), (2, 1, ALL, 7_000), (3, 1, ANSWER_OR_FAILURE, 20_000), (2, 2, ANSWER, 35_000)],
)
def test_every_state_keeps_the_promises(callers, faults, outcomes, at_least):
    """P13, P17, P23-P26, P29: whatever the order of steps, the backend's luck, the fault, and the pair of faults."""
    walked = walk(Protocol(outcomes), callers, faults)

    assert walked.states > at_least
    assert walked.ends > 100


@pytest.mark.prove
@pytest.mark.timeout(1_200)
def test_every_state_of_three_callers_and_two_faults_keeps_the_promises():
    """G16: 3 actors and 2 faults, with a backend that does whatever a backend does."""
    began = time.process_time()
    walked = walk(Protocol(ALL), 3, 2)
    seconds = time.process_time() - began
    figures.record(
        "G16",
        "all states of 3 actors and 2 faults",
        "<= 60 s",
        seconds,
        "s of one core",
        met=seconds <= 60,
        note=f"{walked.states} states, {walked.steps} steps, no violation",
    )

    assert walked.states > 900_000


# -------------------------------------------------------------------- what the walk leaves out


class EveryStep(Protocol):
    """The same protocol in small steps: nothing is merged, callers are told apart, and a pause may begin anywhere."""

    def after(self, world: World) -> Iterator[World]:
        urgent = False
        for number, caller in enumerate(world.callers):
            if caller.doing == "over":
                continue
            if not caller.awake:
                yield _changed(world, number, awake=True)
                continue
            yield from self._step(world, number, caller)
            urgent = urgent or not self.is_patient(world.now, caller)
            if world.faults:
                spent = world._replace(faults=world.faults - 1, excused=True)
                yield _changed(spent, number, awake=False)
        if world.eraser in {"fence", "tomb"}:
            yield from self._erase(world)
            return
        if world.faults and not world.eraser and any(caller.doing != "start" for caller in world.callers):
            yield world._replace(faults=world.faults - 1, excused=True, eraser="fence")
        works = any(caller.awake and caller.doing not in {"start", "over"} for caller in world.callers)
        sleeps = any(not caller.awake for caller in world.callers) and world.now < START_MS + SLEEP_TICKS * TICK_MS
        if not urgent and (works or sleeps):
            later = (self.waited(world.now, world.lease, caller) for caller in world.callers)
            yield world._replace(now=world.now + TICK_MS, callers=tuple(later))

    def _calling(self, world, number, caller):
        if caller.log or caller.beaten != world.now:
            yield from super()._calling(world, number, caller)
            return
        for outcome in self._outcomes:
            yield _changed(world, number, called=0, beaten=0, doing=outcome)


def _changed(world: World, number: int, **changes: Any) -> World:
    callers = list(world.callers)
    callers[number] = callers[number]._replace(**changes)
    return world._replace(callers=tuple(callers))


def in_the_table(world: World) -> tuple[Any, ...]:
    """What stands there, whoever wrote it."""
    lease, entry = (dict(KNOWN.item(number) or {}) for number in (world.lease, world.entry))
    lease.pop("owner", None)
    return (
        tuple(sorted((name, *value.items()) for name, value in lease.items())),
        str(entry.get("fence")),
        "erased" in entry,
    )


def reached(first: Any, after: Callable[[Any], Iterable[Any]]) -> set[Any]:
    found, waiting = set(), [first]
    while waiting:
        state = waiting.pop()
        if state not in found:
            found.add(state)
            waiting += after(state)
    return found


def test_the_walk_leaves_nothing_out():
    """G16: in small steps and every order, callers that are told apart leave nothing in the table that the walk does not see."""
    plain, graph = EveryStep(), Graph(Protocol(), 2, 1)
    small = reached(plain.first(2, 1), plain.after)
    merged = reached(graph.first, graph.after)
    tables = {in_the_table(world) for world in small}

    assert len(tables) > 300
    assert set() == tables - {in_the_table(graph.world(state)) for state in merged}
    assert len(merged) < len(small) / 2


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

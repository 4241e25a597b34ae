"""The real hook under seeded schedules: processes, threads and mishaps in an order that a number decides."""

from __future__ import annotations

import os

import pytest

import figures
from hookcache.serving import NOTHING
from simulation.herd import Broken, Herd
from simulation.scheduler import Process, Scheduler, Stuck, Threading

QUICK, LONG = 300, 10_000


def walk(seeds: range, **told: object) -> int:
    """Run a schedule for each seed; the number of switches. The first that breaks a promise names itself."""
    return sum(Herd(seed, **told).run().switches for seed in seeds)


def test_no_schedule_breaks_a_promise():
    """P13, P18, P23, P28, P29: some hundred histories of the real code. HOOKCACHE_SEED=17 runs that one alone."""
    if "HOOKCACHE_SEED" in os.environ:
        seed = int(os.environ["HOOKCACHE_SEED"])
        walk(range(seed, seed + 1))
        return

    assert walk(range(QUICK)) > QUICK * 20


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_no_schedule_of_many_breaks_a_promise():
    """G16: 10,000 histories."""
    switches = walk(range(LONG))
    figures.record(
        "G16",
        "seeded schedules of the real code",
        f"{LONG} without a broken promise",
        LONG,
        "schedules",
        met=True,
        note=f"{switches} switches",
    )

    assert switches > LONG * 20


def test_a_seed_tells_the_same_story_twice():
    """A failure can be looked at again: the seed decides everything."""
    first, again = Herd(5).run(), Herd(5).run()

    assert (first.switches, first.seconds, len(first.calls)) == (again.switches, again.seconds, len(again.calls))


class TestControls:
    """Negative controls: the same schedules, with a part taken out of the hook, must break a promise and name the seed."""

    def test_without_the_second_look_the_backend_is_asked_twice(self):
        """P24."""

        def look_once(hook):
            recall = hook._recall
            hook._recall = lambda call, cache, lookup, leader=None: (
                recall(call, cache, lookup) if leader is None else NOTHING
            )

        with pytest.raises(Broken, match=r"seed \d+.*P23: 2 calls"):
            walk(range(QUICK), faults=0, weaken=look_once)

    def test_without_a_lease_every_process_asks(self):
        """P23."""

        def unleased(hook):
            flights = hook._cache().flights
            flights._book = None

        with pytest.raises(Broken, match=r"seed \d+.*P23: [2-9] calls"):
            walk(range(QUICK), faults=0, weaken=unleased)

    def test_a_flight_that_is_not_ended_holds_its_followers(self):
        """P28."""

        def never_ended(hook):
            flights = hook._cache().flights
            lead = flights._lead

            def forgetful(*told):
                boarded = lead(*told)
                if hasattr(boarded, "_end"):
                    boarded._end = lambda ending: None
                return boarded

            flights._lead = forgetful

        with pytest.raises(Broken, match=r"seed \d+.*P28"):
            walk(range(QUICK), faults=0, weaken=never_ended)

    def test_without_the_fence_an_erased_answer_comes_back(self):
        """P13."""

        def forget_fences(hook):
            items = hook._cache()._table._items
            put = items.put
            items.put = lambda item, condition="", values=None: put(item)

        with pytest.raises(Broken, match=r"seed \d+.*P13"):
            walk(range(3 * QUICK), weaken=forget_fences)


class TestScheduler:
    def test_threads_that_wait_for_each_other_are_noticed(self):
        """P29: a deadlock is an error of its own, and does not hang the test."""
        scheduler = Scheduler(1)
        doubles = Threading(scheduler)
        first, second = doubles.Event(), doubles.Event()
        scheduler.start(Process("a"), lambda: (first.wait(), second.set()))
        scheduler.start(Process("b"), lambda: (second.wait(), first.set()))

        with pytest.raises(Stuck, match="2 threads"):
            scheduler.run()

    def test_waiting_takes_virtual_time_only(self):
        """A minute passes at once, in the order of the waits."""
        scheduler, said = Scheduler(1), []
        for seconds in (60.0, 1.0):
            scheduler.start(
                Process("p"), lambda seconds=seconds: (scheduler.sleep(seconds), said.append(scheduler.now))
            )
        scheduler.run()

        assert [1.0, 60.0] == said

"""Real processes, a real table: herds, killed and stopped leaders, an erase in the middle. Times are scaled down."""

from __future__ import annotations

import json
import random
import signal
import time
from statistics import quantiles

import pytest

import figures
from concurrency.fleet import a_text
from hookcache_ops.local import engines
from waiting import eventually

REFEREES = (engines.DYNAMODB_LOCAL, engines.DYNOXIDE)
CALLERS = 200
POLL_CAP_SECONDS = 1.0


def call_of(entry):
    return json.loads(entry.body)["made_by_call"]


# -------------------------------------------------------------------- the herd


def herd(fleet, rounds, backend_seconds, processes):
    """Rounds of 200 callers with one new key each; worst figures of all rounds, and how many rounds had one call."""
    fleet.backend.seconds = backend_seconds
    workers, threads = fleet.workers(processes), CALLERS // processes
    single, slowest, reads, took = 0, 0.0, 0, []
    for _ in range(rounds):
        text = a_text()
        for each in workers:
            each.order(text, threads)
        told = [each.told() for each in workers]
        results = [result for each in told for result in each["results"]]
        assert [] == [result for result in results if "error" in result]
        assert CALLERS == len(results)
        assert 1 == len({result["call"] for result in results}), "everybody has the same answer"
        single += len(fleet.backend.calls_for(text)) == 1
        took += [result["took"] for result in results]
        # Each thread looks once; what is left is read by the one that polls for its process.
        reads = max(reads, *(each["reads"] - threads + 1 for each in told))
    slowest = quantiles(took, n=100)[98]
    return single, slowest, reads


@pytest.mark.parametrize("name", REFEREES)
def test_a_herd_makes_one_backend_call(fleet_of, name):
    """P23, S34: 200 callers in 4 processes, one key, a slow backend: one call, everybody answered, few reads."""
    rounds = 3 if name == engines.DYNAMODB_LOCAL else 1
    single, slowest, reads = herd(fleet_of(name), rounds, 0.7, 4)

    assert rounds == single
    assert reads <= 20 + slowest / POLL_CAP_SECONDS, "one more with each poll of a machine that takes its time"


@pytest.mark.prove
@pytest.mark.alone
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("rounds", "seconds", "processes"), [(100, 0.5, 8), (10, 2.0, 4)])
def test_a_hundred_herds_make_one_backend_call_each(fleet_of, rounds, seconds, processes):
    """G5: in every round; with a backend of 2 s in some of them."""
    single, slowest, reads = herd(fleet_of(), rounds, seconds, processes)
    note = f"DynamoDB Local, {processes} processes x {CALLERS // processes} threads, backend {seconds} s"
    figures.record(
        "G5",
        "rounds with exactly one backend call",
        f"{rounds} of {rounds}",
        single,
        "rounds",
        met=single == rounds,
        note=note,
    )
    figures.record(
        "G5", "p99 of all callers", f"<= {seconds} s + 2 s", slowest, "s", met=slowest <= seconds + 2, note=note
    )
    figures.record("G5", "reads of one caller at most", "<= 20", reads, "reads", met=reads <= 20, note=note)

    assert rounds == single
    assert reads <= 20


# -------------------------------------------------------------------- killed leaders


def kill_leaders(fleet, runs, seed, lease_seconds):
    """
    Kill a leader at a random moment, while another process waits for its answer.

    Returns the seconds from the kill to the follower's answer, beyond the backend's own time, for each run.
    """
    chosen = random.Random(seed)
    backend_seconds = fleet.backend.seconds = 0.2
    (follower,) = fleet.workers(1)
    recoveries = []
    for _ in range(runs):
        (leader,) = fleet.workers(1)
        text = a_text()
        leader.order(text)
        time.sleep(0.01)
        follower.order(text)
        time.sleep(chosen.uniform(0.0, backend_seconds + 0.1))
        killed = time.time()
        leader.signal(signal.SIGKILL)
        told = follower.told()
        (result,) = told["results"]
        assert "error" not in result, result
        assert result["call"] in [fleet.backend.calls.index(call) for call in fleet.backend.calls_for(text)]
        assert len(fleet.backend.calls_for(text)) <= 2
        recoveries.append(max(0.0, told["ended"] - killed - backend_seconds))
        leader.end()
    return recoveries


def test_a_killed_leader_delays_others_by_its_lease(fleet_of):
    """P26, F16: killed before, during or after its backend call, it holds nobody up longer than its lease lasts."""
    recoveries = kill_leaders(fleet_of(lease_seconds=0.6), 4, 7, 0.6)

    assert max(recoveries) < 20, "by the end of its lease, long before the follower would give up (45 s)"


@pytest.mark.prove
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_a_hundred_killed_leaders(fleet_of):
    """G7: 100 SIGKILLs at random moments, lease 1 s, skew 0."""
    recoveries = kill_leaders(fleet_of(lease_seconds=1.0), 100, 11, 1.0)
    worst = max(recoveries)
    figures.record(
        "G7",
        "recovery after SIGKILL of the leader, worst of 100",
        "<= 1.0 s + poll 1.0 s + 0.2 s",
        worst,
        "s",
        met=worst <= 2.2,
        note="DynamoDB Local; 0 wrong answers",
    )

    assert worst <= 10, "by the end of its lease, long before the follower would give up"


# -------------------------------------------------------------------- stopped leaders


def stop_leaders(fleet, runs):
    """
    Stop a leader during its call until another has taken over, answered and stored; then let it go on.

    Returns how often the late leader replaced what the other had stored.
    """
    overwrites = 0
    (second,) = fleet.workers(1)
    (first,) = fleet.workers(1)
    for _ in range(runs):
        text = a_text()
        known = set(fleet.stored())
        while fleet.backend.arrived.acquire(blocking=False):
            pass
        fleet.backend.gate.clear()
        first.order(text)
        assert fleet.backend.arrived.acquire(timeout=60)
        first.signal(signal.SIGSTOP)
        fleet.backend.gate.set()  # the reply waits in the stopped one's socket
        try:
            second.order(text)
            (result,) = second.told()["results"]
            assert 2 == len(fleet.backend.calls_for(text)), "the lease was taken over"
            ((key, before),) = [(key, entry) for key, entry in fleet.stored().items() if key not in known]
            lease = fleet.leases()[key]
        finally:
            first.signal(signal.SIGCONT)
        (late,) = first.told()["results"]
        after = fleet.stored()[key]
        assert late["call"] != result["call"] == call_of(before), "each has the answer to its own call"
        overwrites += (after.fence, call_of(after)) != (before.fence, call_of(before))
        assert lease == fleet.leases()[key], "the late release changed nothing"
    return overwrites


@pytest.mark.parametrize("name", REFEREES)
def test_a_leader_stopped_past_its_lease_overwrites_nothing(fleet_of, name):
    """P25, F17: it still answers its own caller; its put and its release are refused."""
    assert 0 == stop_leaders(fleet_of(name, lease_seconds=0.3), 2)


@pytest.mark.prove
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_a_hundred_stopped_leaders(fleet_of):
    """G8: 100 SIGSTOPs past the lease."""
    overwrites = stop_leaders(fleet_of(lease_seconds=0.3), 100)
    figures.record(
        "G8",
        "overwrites by 100 leaders stopped past their lease",
        "0",
        overwrites,
        "overwrites",
        met=overwrites == 0,
        note="DynamoDB Local",
    )

    assert 0 == overwrites


# -------------------------------------------------------------------- erase and late results


@pytest.mark.parametrize("name", REFEREES)
@pytest.mark.parametrize(("fenced", "returns"), [(True, False), (False, True)], ids=["promise", "control"])
def test_an_erase_during_a_flight_is_final(fleet_of, name, fenced, returns):
    """P13, F19: the caller is served and nothing is stored; without the fence the content comes back."""
    fleet = fleet_of(name, lease_seconds=5.0)
    (leader,) = fleet.workers(1)
    fleet.backend.gate.clear()
    leader.order(a_text())
    assert fleet.backend.arrived.acquire(timeout=60)
    ((key, _),) = fleet.leases().items()
    fleet.erase(key, fenced=fenced)
    fleet.backend.gate.set()
    (result,) = leader.told()["results"]

    assert "error" not in result
    assert returns == (key in fleet.stored())


def test_a_late_result_is_kept_for_the_next_attempt(fleet_of):
    """P53: the caller gave up, the leader finished and stored; the next attempt, elsewhere, finds it."""
    fleet = fleet_of()
    first, second = fleet.workers(2)
    fleet.backend.seconds = 0.3
    text = a_text()
    first.order(text)
    assert fleet.backend.arrived.acquire(timeout=60)
    assert eventually(fleet.stored)  # nobody reads the first one's reply
    second.order(text)
    (result,) = second.told()["results"]

    assert 1 == len(fleet.backend.calls_for(text))
    assert result["call"] == fleet.backend.calls.index(fleet.backend.calls_for(text)[0])

"""F5, F8, F9, F15-F19, F35, F36, F38: faults of the lease, of its holder and of its clock. P13, P23, P25, P26, P54."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ConnectionClosedError
from fault_proxy import Faults

from fakes import BackendRaised, ocr_event, refusal
from hookcache import flight as flight_module
from hookcache import lease as lease_module
from hookcache.clock import EpochMillis
from hookcache.entry import Fence
from hookcache.errors import FollowerTimedOut
from hookcache.lease import Held, LeaseBook, LeaseItem, OwnerId, State
from hookcache.outcome import Reason
from hookcache.table import TableTier
from hookcache.value import replace
from rig import metric
from waiting import eventually

PINNED = {"HOOKCACHE_IDENTITY": "pinned"}
LOST = ConnectionClosedError(endpoint_url="https://table")
EVENT = ocr_event(text="the one page")


def erase(rig, environment) -> None:
    """What an erase does to the one key in the table: fence its lease, then put the tombstone (3.7)."""
    (lease,) = rig.dynamodb.of_kind("LEASE")
    cache, key = environment.cache, lease["pk"]["B"]
    fence = cache.flights._book.fence_off(key)
    tombstone = cache._table._sealer.tombstone(key, fence, rig.clock.now_ms() // 1000 + 86_400)
    rig.dynamodb.plant(tombstone)


def meanwhile(rig, action) -> None:
    """Have `action` done while the backend works on its first call."""
    answer = rig.backend.handler

    def handler(event):
        rig.backend.handler = answer
        action()
        return answer(event)

    rig.backend.handler = handler


class TestALostReply:
    def test_our_own_write_is_recognised(self, sockets):
        """F8: the acquire arrived, its reply was lost, the repeat meets our own lease: we lead."""
        over = sockets()
        over.proxy.behave(Faults(lose=1.0, operation="UpdateItem", times=1))
        over.call(EVENT)

        assert ("miss", "absent", "") == tuple(over.last[name] for name in ("outcome", "reason", "refusal"))
        assert 1 == len(over.stored("ENTRY"))

    def test_control_without_the_owner_check_the_leader_meets_itself(self, make_rig, monkeypatch):
        """F8, P28, Control: our own lease stands in our way; the answer is not kept, and nobody else gets it."""
        whole = lease_module.after_conflict

        def nobody(old, owner, *more):
            return whole(old, OwnerId("somebody else"), *more)

        rig = make_rig(HOOKCACHE_IDENTITY="pinned", HOOKCACHE_WAIT_SECONDS="20")
        monkeypatch.setattr(lease_module, "after_conflict", nobody)
        rig.dynamodb.misbehave(LOST, operation="update_item", after=True, times=1)
        rig.call(EVENT)

        assert ("bypass", "nested", []) == (rig.last["outcome"], rig.last["reason"], rig.entries)

    def test_our_own_put_is_recognised(self, sockets):
        """F8, P25: the entry arrived, its reply was lost, the repeat meets our own fence and tag: kept."""
        over = sockets()
        over.proxy.behave(Faults(lose=1.0, operation="PutItem", times=1))
        over.call(EVENT)

        assert ("miss", "") == (over.last["outcome"], over.last["refusal"])
        assert 1 == len(over.stored("ENTRY"))


class TestNoOldItem:
    def followed(self, rig) -> list[str]:
        """Two environments want one page; the second's conflict comes back without the item that stood in its way."""
        first, second = rig.first, rig.second
        for environment in (first, second):
            environment.cache.control.now()
        rig.dynamodb.misbehave(operation="update_item", hide_old=True)
        rig.backend.gate.clear()
        with ThreadPoolExecutor(2) as callers:
            leader = callers.submit(rig.call, EVENT, first)
            assert rig.backend.waiting.acquire(timeout=60)
            rig.clock.on_sleep = lambda seconds: (rig.backend.gate.set(), leader.result(60))
            follower = callers.submit(rig.call, EVENT, second)
            while not rig.backend.gate.is_set():  # until the second waits, or asks the backend as well
                if rig.backend.waiting.acquire(timeout=0.05):
                    rig.backend.gate.set()
            leader.result(60)
            follower.result(60)
        return rig.outcomes

    def test_it_is_read_once_consistently_and_followed(self, make_rig):
        """F9: the engine names no old item: one consistent read, then as always."""
        rig = make_rig(**PINNED)

        assert ["collapsed", "miss"] == sorted(self.followed(rig))
        assert 1 == len(rig.backend.calls)

    def test_control_taken_for_free_there_are_two_leaders(self, make_rig, monkeypatch):
        """F9, Control: nothing there means free."""

        class Trusting(LeaseBook):
            def acquire(self, key, owner, negative=()):
                taken = self._try(key, owner, self._clock.now_ms(), None, negative)
                if isinstance(taken, lease_module.Lease):
                    return taken
                return lease_module.Lease(key, owner, Fence(self._clock.now_ms()), EpochMillis(2**52))

        monkeypatch.setattr("hookcache.assembly.LeaseBook", Trusting)
        rig = make_rig(**PINNED)

        assert "collapsed" not in self.followed(rig)
        assert 2 == len(rig.backend.calls)


class TestALeaseThatEnded:
    def planted(self, rig) -> int:
        """A lease of a holder that is no more, ended a minute ago; its fence."""
        rig.call(EVENT)
        (item,) = rig.dynamodb.of_kind("LEASE")
        for entry in rig.entries:
            del rig.dynamodb.items[entry["pk"]["B"], "ENTRY"]
        rig.clock.advance(400)
        ended = str(rig.clock.now_ms() - 60_000)
        rig.dynamodb.plant(item | {"state": {"S": "HELD"}, "owner": {"S": "dead"}, "end_ms": {"N": ended}})
        return int(item["fence"]["N"])

    def test_it_is_taken_over_with_a_larger_fence(self, make_rig):
        """F15, P25: what TTL has not deleted yet stands in nobody's way."""
        rig = make_rig(**PINNED)
        old = self.planted(rig)
        rig.call(EVENT)
        (item,) = rig.dynamodb.of_kind("LEASE")

        assert ["miss", "miss"] == rig.outcomes
        assert int(item["fence"]["N"]) > old
        assert [] == rig.clock.slept

    def test_control_by_existence_alone_the_key_is_blocked(self, make_rig, monkeypatch):
        """F15, Control: whoever finds a lease waits for it, ended or not."""

        class ByExistence(LeaseBook):
            def acquire(self, key, owner, negative=()):
                item = super().read(key, consistent=True)
                return super().acquire(key, owner, negative) if item is None else Held(item)

            def read(self, key, *, consistent=False):
                item = super().read(key, consistent=consistent)
                return item and replace(item, state=State.HELD, end_ms=EpochMillis(2**52))

        rig = make_rig(HOOKCACHE_WAIT_SECONDS="20", **PINNED)
        self.planted(rig)
        monkeypatch.setattr("hookcache.assembly.LeaseBook", ByExistence)
        with pytest.raises(FollowerTimedOut):
            rig.call(EVENT, rig.cold_start())
        rig.dynamodb.faulted = True  # the dead holder's lease stays, as planted


class TestADeadLeader:
    def held(self, rig) -> None:
        """A leader of another environment took the lease and died."""
        rig.call(EVENT)
        (item,) = rig.dynamodb.of_kind("LEASE")
        rig.dynamodb.items.pop((item["pk"]["B"], "ENTRY"))
        rig.clock.advance(400)
        fence, end = rig.clock.now_ms(), rig.clock.now_ms() + 30_000
        held = {"state": {"S": "HELD"}, "owner": {"S": "dead"}, "fence": {"N": str(fence)}, "end_ms": {"N": str(end)}}
        rig.dynamodb.plant(item | held)

    def test_followers_lose_a_lease_s_length_at_most(self, make_rig):
        """F16, P26: LEASE + the cap of POLL + SKEW = 33 s after the death somebody else leads."""
        rig = make_rig(**PINNED)
        self.held(rig)
        rig.call(EVENT)

        assert ["miss", "miss"] == rig.outcomes
        assert sum(rig.clock.slept) <= 33.0

    def test_control_without_an_end_followers_wait_in_vain(self, make_rig, monkeypatch):
        """F16, Control: a lease without end uses up everybody's WAIT."""
        rig = make_rig(**PINNED)
        self.held(rig)
        monkeypatch.setattr(LeaseItem, "is_held", lambda self, now, skew_ms=0: self.state is State.HELD)
        with pytest.raises(FollowerTimedOut):
            rig.call(EVENT)
        rig.dynamodb.faulted = True

        assert sum(rig.clock.slept) > 44.9


class TestAStoppedLeader:
    def overtaken(self, rig) -> None:
        """A leader is stopped past its lease; another environment leads, stores and ends meanwhile."""
        first, second = rig.first, rig.second
        rig.backend.replies = [{"output": {"message": {"content": [{"text": "late"}]}}}]
        lent = iter([lambda: None])
        renew = LeaseBook.renew

        def stopped():
            rig.clock.advance(60)
            rig.backend.replies = [{"output": {"message": {"content": [{"text": "successor"}]}}}]
            LeaseBook.renew = lambda self, lease: True  # its heartbeat sleeps with it
            try:
                rig.call(EVENT, second)
            finally:
                LeaseBook.renew = renew
            next(lent)

        original = rig.backend._reply

        def reply(scripted, event):
            rig.backend._reply = original
            stopped()
            return original(scripted, event)

        rig.backend._reply = reply
        rig.call(EVENT, first)

    def kept(self, rig) -> str:
        fresh = rig.cold_start()
        return rig.call(EVENT, fresh)["output"]["message"]["content"][0]["text"]

    def test_its_put_and_release_harm_nobody(self, make_rig):
        """F17, P25: the put of an older fence is refused, and so is the release."""
        rig = make_rig(**PINNED)
        self.overtaken(rig)

        assert ["superseded"] == [receipt["refusal"] for receipt in rig.receipts if receipt["refusal"]]
        assert 1 == metric(rig.last, "LeaseLost")
        assert "successor" == self.kept(rig)

    def test_control_unconditional_writes_overwrite_the_successor(self, make_rig, monkeypatch):
        """F17, Control: without the fence in the condition the late answer stands."""
        monkeypatch.setattr("hookcache.table.NEWER_FENCE_ONLY", "attribute_not_exists(fence) OR fence <> :mine")
        rig = make_rig(**PINNED)
        self.overtaken(rig)

        assert "late" == self.kept(rig)


class TestAHeartbeatThatFails:
    def beaten(self, rig) -> None:
        """The backend works through several beats, each of which the table fails."""
        environment = rig.first
        environment.cache.control.now()
        beats = threading.Semaphore(0)
        answer = rig.backend.handler

        def handler(event):
            rig.dynamodb.before = lambda name, arguments: beats.release() if name == "update_item" else None
            rig.dynamodb.misbehave(refusal("InternalServerError"), operation="update_item", times=4)
            assert beats.acquire(timeout=60)
            assert beats.acquire(timeout=60)
            rig.dynamodb.behave()
            return answer(event)

        rig.backend.handler = handler
        rig.call(EVENT)

    def test_the_fetch_goes_on(self, make_rig):
        """F18: the answer is returned and kept."""
        rig = make_rig(HOOKCACHE_LEASE_SECONDS="0.3", **PINNED)
        self.beaten(rig)

        assert ("miss", "") == (rig.last["outcome"], rig.last["refusal"])
        assert 1 == len(rig.entries)

    def test_control_a_heartbeat_that_aborts_loses_the_answer(self, make_rig, monkeypatch):
        """F18, Control: a leader that gives up with its heartbeat throws a paid answer away."""

        class Nervous(flight_module.Leader):
            def _beat(self, lease):
                while not self._stop.wait(self._book.beat_seconds):
                    try:
                        self._book.renew(lease)
                    except flight_module.TierUnavailable as trouble:
                        self.broken = trouble
                        return

            def __exit__(self, *how):
                super().__exit__(*how)
                if getattr(self, "broken", None):
                    raise self.broken

        monkeypatch.setattr(flight_module, "Leader", Nervous)
        monkeypatch.setattr("hookcache.hook.Leader", Nervous)
        rig = make_rig(HOOKCACHE_LEASE_SECONDS="0.3", **PINNED)
        rig.charged_hits = True
        with pytest.raises(flight_module.TierUnavailable):
            self.beaten(rig)


class TestAnEraseDuringAFlight:
    def test_nothing_comes_back(self, make_rig):
        """F19, P13: the caller is served, and its answer is not stored."""
        rig = make_rig(**PINNED)
        meanwhile(rig, lambda: erase(rig, rig.first))
        rig.call(EVENT)
        rig.call(EVENT, rig.second)

        assert ["superseded", ""] == [receipt["refusal"] for receipt in rig.receipts]
        assert ["absent", "erased"] == [receipt["reason"] for receipt in rig.receipts]

    def test_control_without_the_fence_the_entry_returns(self, make_rig, monkeypatch):
        """F19, Control: a put that ignores fences brings the content back."""
        monkeypatch.setattr("hookcache.table.NEWER_FENCE_ONLY", "attribute_exists(pk) OR fence < :mine")
        rig = make_rig(**PINNED)
        meanwhile(rig, lambda: erase(rig, rig.first))
        rig.call(EVENT)
        rig.call(EVENT, rig.second)

        assert ["miss", "hit_table"] == rig.outcomes

    def test_without_a_lease_nothing_comes_back_either(self, make_rig):
        """F5, P54: an unleased fetch stores nothing, so an erase need not know of it."""
        rig = make_rig(**PINNED)
        rig.call(EVENT)
        rig.clock.advance(7 * 86_400)
        rig.dynamodb.misbehave(refusal("ThrottlingException"), operation="update_item", kind="LEASE", times=1)
        meanwhile(rig, lambda: erase(rig, rig.first))
        rig.call(EVENT)
        rig.call(EVENT, rig.second)

        assert ["absent", "unleased", "erased"] == [receipt["reason"] for receipt in rig.receipts]

    def test_control_a_fill_without_a_lease_passes_a_tombstone(self, make_rig, monkeypatch):
        """F5, Control: a fence of one's own, made at the time of the put, is larger than the erase's."""
        put = TableTier.put

        def keep(cache, lookup, answer, reply, leader, receipt, *, indexed):
            rig.clock.advance(1)
            put(cache._table, replace(cache._entry(lookup, answer, reply, leader), fence=Fence(rig.clock.now_ms())))

        rig = make_rig(**PINNED)
        rig.call(EVENT)
        rig.clock.advance(7 * 86_400)
        rig.dynamodb.misbehave(refusal("ThrottlingException"), operation="update_item", kind="LEASE", times=1)
        meanwhile(rig, lambda: erase(rig, rig.first))
        monkeypatch.setattr("hookcache.cache.Cache.keep", keep)
        rig.call(EVENT)
        rig.call(EVENT, rig.second)

        assert "hit_table" == rig.last["outcome"]


def at_once(rig, events, environment=None) -> list:
    """All events at the same time, each from a thread of its own; what each returned or raised."""

    def one(event):
        try:
            return rig.call(event, environment)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(events)) as callers:
        return list(callers.map(one, events))


class TestManyAtOnce:
    def most(self, rig, pages: int) -> int:
        """The largest number of backend calls at one time while `pages` callers want a page each."""
        rig.first.cache.control.now()
        rig.backend.gate.clear()
        with ThreadPoolExecutor(pages) as callers:
            calls = [callers.submit(rig.call, ocr_event(text=f"page {page}")) for page in range(pages)]
            together = 0
            while together < pages and rig.backend.waiting.acquire(timeout=30):
                together += 1
            rig.backend.gate.set()
            for call in calls:
                call.result(60)
        return together

    def test_distinct_pages_do_not_wait_for_one_another(self, make_rig):
        """F35, S42: many keys at once on a cold table, each with a flight of its own; the backend's concurrency is the callers'."""
        rig = make_rig(**PINNED)

        assert 100 == self.most(rig, 100)

    def test_nor_for_one_whose_lease_is_slow_to_come(self, make_rig):
        """F35: the table is asked for one key's lease, and others are answered meanwhile."""
        rig = make_rig(**PINNED)
        rig.first.cache.control.now()
        asked, answers, first = threading.Event(), threading.Event(), threading.Lock()

        def slow(name, arguments):
            if name == "update_item" and first.acquire(blocking=False):
                asked.set()
                answers.wait(60)

        rig.dynamodb.before = slow
        with ThreadPoolExecutor(2) as callers:
            held = callers.submit(rig.call, EVENT)
            assert asked.wait(60)
            callers.submit(rig.call, ocr_event(text="another page")).result(30)
            alone = not held.done()
            answers.set()
            held.result(60)

        assert alone
        assert ["miss", "miss"] == rig.outcomes

    @pytest.mark.prove
    def test_a_thousand_distinct_pages(self, make_rig):
        """F35 at full size."""
        rig = make_rig(**PINNED)

        assert 1000 == self.most(rig, 1000)

    def test_control_one_lock_for_all_is_serial(self, make_rig, monkeypatch):
        """F35, Control: with one flight for every key, one call at a time."""
        monkeypatch.setattr(flight_module.Flights, "board", _one_for_all(flight_module.Flights.board))
        rig = make_rig(**PINNED)
        rig.first.cache.control.now()
        rig.backend.gate.clear()
        with ThreadPoolExecutor(4) as callers:
            calls = [callers.submit(rig.call, ocr_event(text=f"page {page}")) for page in range(4)]
            assert rig.backend.waiting.acquire(timeout=60)
            assert not rig.backend.waiting.acquire(timeout=0.3)
            rig.backend.gate.set()
            for call in calls:
                call.result(60)


def _one_for_all(board):
    lock = threading.Lock()

    def one_at_a_time(flights, *arguments, **named):
        lock.acquire()
        boarded = board(flights, *arguments, **named)
        end = boarded._end

        def over(ending):
            end(ending)
            lock.release()

        boarded._end = over
        return boarded

    return one_at_a_time


class TestALeaderThatFailsEachTime:
    CALLERS = 40

    def round(self, rig) -> list:
        rig.first.cache.control.now()
        rig.backend.handler = lambda event: BackendRaised("ModelDown", "no model")
        rig.backend.gate.clear()
        with ThreadPoolExecutor(self.CALLERS) as callers:
            leader = callers.submit(at_once, rig, [EVENT])
            assert rig.backend.waiting.acquire(timeout=60)
            others = [callers.submit(at_once, rig, [EVENT]) for _ in range(self.CALLERS - 1)]
            flights = rig.first.cache.flights
            (flight,) = flights._flights.values()
            assert eventually(lambda: len(flight.over._cond._waiters) == self.CALLERS - 1)
            rig.backend.gate.set()
            return [*leader.result(60), *(error for other in others for error in other.result(60))]

    def test_those_who_wait_fail_with_it(self, make_rig):
        """F36, P17: one call, and everybody who waited fails fast with the backend's own type."""
        rig = make_rig(**PINNED)
        errors = self.round(rig)

        assert 1 == len(rig.backend.calls)
        assert {"ModelDown"} == {type(error).__name__ for error in errors}
        reasons = [receipt["reason"] for receipt in rig.receipts]
        assert (1, self.CALLERS - 1) == (reasons.count("backend_failed"), reasons.count("shared_failure"))

    def test_control_unshared_each_fails_for_itself_in_a_row(self, make_rig, monkeypatch):
        """F36, Control: a convoy, each waiting for the failure before it and then making its own."""
        monkeypatch.setattr(flight_module.Leader, "fail", lambda self, error_type: None)
        rig = make_rig(**PINNED)
        self.round(rig)

        assert self.CALLERS == len(rig.backend.calls)


class TestAllKeysColdUnderLoad:
    PAGES, CALLERS = 10, 8

    def loaded(self, rig) -> None:
        """Every caller wants every page, all at once, right after a change of generation."""
        events = [ocr_event(text=f"page {page}") for page in range(self.PAGES)]
        at_once(rig, events)
        rig.environments.clear()
        environment = rig.cold_start(HOOKCACHE_GENERATION="1")
        environment.cache.control.now()
        rig.backend.calls.clear()
        rig.backend.gate.clear()
        with ThreadPoolExecutor(self.PAGES * self.CALLERS) as callers:
            calls = [callers.submit(rig.call, event, environment) for event in events * self.CALLERS]
            for _ in range(self.PAGES):
                assert rig.backend.waiting.acquire(timeout=60)
            rig.backend.gate.set()
            for call in calls:
                call.result(60)
        at_once(rig, events, environment)

    def test_one_call_per_key_and_then_hits(self, make_rig):
        """F38: the load meets an empty cache: as many calls as keys, and hits at once after that."""
        rig = make_rig(**PINNED)
        self.loaded(rig)

        assert self.PAGES == len(rig.backend.calls)
        assert ["hit_memory"] * self.PAGES == rig.outcomes[-self.PAGES :]

    def test_control_without_flights_the_load_multiplies(self, make_rig, monkeypatch):
        """F38, Control: every caller for itself."""
        monkeypatch.setattr(flight_module.Flights, "board", lambda *_, **__: flight_module.Alone(Reason.UNLEASED))
        rig = make_rig(**PINNED)
        self.loaded(rig)

        assert len(rig.backend.calls) >= self.PAGES * self.CALLERS

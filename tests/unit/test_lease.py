"""The decisions about a lease item to the millisecond, and the items that lie in tables."""

import pytest

from fakes import START_MS, FakeClock
from hookcache.errors import TierUnavailable
from hookcache.items import Conflict, Throttled
from hookcache.lease import (
    Held,
    Lease,
    LeaseBook,
    LeaseItem,
    Negative,
    Sight,
    State,
    TryAbove,
    after_conflict,
    observed,
)
from simulation.items_double import MemoryItems

NOW = 1_700_000_000_000
KEY = b"k" * 32
SKEW = 2_000
"""Milliseconds; spelt out here so that a change of the product's own is noticed."""


def held(end=30_000, owner="other", fence=NOW - 1_000, **more):
    return LeaseItem(State.HELD, owner, fence, NOW + end, **more)


def ended(state, note="", ago=0, fence=NOW - 1_000):
    return LeaseItem(state, "other", fence, NOW, note, NOW - ago)


WHOLE = {
    "state": {"S": "HELD"},
    "owner": {"S": "me"},
    "fence": {"N": "7"},
    "end_ms": {"N": "8"},
    "note": {"S": "Timeout"},
    "note_ms": {"N": "9"},
    "beat_ms": {"N": "10"},
}


class TestTheItem:
    def test_every_attribute_has_its_place(self):
        """P43: what the last release wrote is read by the next."""
        assert LeaseItem(State.HELD, "me", 7, 8, "Timeout", 9, 10) == LeaseItem.decode(WHOLE)

    def test_only_state_fence_and_end_must_be_there(self):
        """P13: an erase leaves no owner, note or beat."""
        least = {name: WHOLE[name] for name in ("state", "fence", "end_ms")}

        assert LeaseItem(State.HELD, "", 7, 8, "", 0, 0) == LeaseItem.decode(least)

    @pytest.mark.parametrize("damage", [None, {}, "9", {"N": "late"}, {"S": "9"}], ids=str)
    def test_a_note_without_a_time_holds_for_nobody(self, damage):
        """P23: it is no reason to take the item for damaged: whoever takes the lease over leaves it there."""
        assert LeaseItem(State.HELD, "me", 7, 8, "Timeout", 0, 10) == LeaseItem.decode(WHOLE | {"note_ms": damage})

    @pytest.mark.parametrize(
        "change",
        [
            *({name: None} for name in WHOLE if name != "note_ms"),
            *({name: {}} for name in ("state", "fence", "end_ms")),
            {"state": {"S": "NOVEL"}},
            {"state": "HELD"},
            {"owner": "me"},
            {"fence": {"N": "seven"}},
            {"fence": {"N": "1" + "0" * 18}},
            {"fence": {"N": None}},
            {"fence": "7"},
        ],
        ids=str,
    )
    def test_an_item_that_is_not_ours_is_table_trouble(self, change):
        """P18: who follows it goes on without a lease, who wants it replaces it; the table's breaker stays as it is."""
        with pytest.raises(TierUnavailable) as caught:
            LeaseItem.decode(WHOLE | change)

        assert not caught.value.transient

    @pytest.mark.parametrize("name", ["owner", "note", "note_ms", "beat_ms"])
    def test_what_may_be_absent_may_be_of_another_type(self, name):
        """P18: it is read as absent."""
        assert LeaseItem.decode({**WHOLE, name: {}}) == LeaseItem.decode(
            {has: WHOLE[has] for has in WHOLE if has != name}
        )

    @pytest.mark.parametrize(
        ("item", "holds"),
        [
            (held(0), True),
            (held(-SKEW), True),
            (held(-SKEW - 1), False),
            (held(beat_ms=NOW + SKEW), True),
            (held(beat_ms=NOW + SKEW + 1), False),
            *((LeaseItem(state, "other", 1, NOW + 30_000), False) for state in State if state is not State.HELD),
        ],
    )
    def test_it_holds_until_its_end_and_the_skew_beyond(self, item, holds):
        """P23, P26, F15: 2 s are allowed for clocks that differ, both ways."""
        assert holds == item.is_held(NOW)

    @pytest.mark.parametrize(("skew", "holds"), [(0, False), (500, True)])
    def test_the_skew_is_the_books(self, skew, holds):
        """P23: a table whose clocks are closer may wait less."""
        assert holds == held(-500).is_held(NOW, skew)

    @pytest.mark.parametrize(
        ("note", "ago", "lately"),
        [
            ("REFUSED", 0, True),
            ("REFUSED", 59_999, True),
            ("REFUSED", 60_000, False),
            ("REFUSED", -SKEW, True),
            ("REFUSED", -SKEW - 1, False),
            ("Timeout", 0, False),
            ("", 0, False),
        ],
    )
    def test_a_refusal_counts_for_a_minute(self, note, ago, lately):
        """P48: nobody waits for this key meanwhile."""
        assert lately == ended(State.FREE, note, ago).refused_lately(NOW)


class TestAfterAConflict:
    @pytest.mark.parametrize(
        ("item", "decision"),
        [
            (None, None),
            (held(owner="me", fence=5), Lease(b"", "me", 5, NOW + 30_000)),
            (held(owner="me", fence=5, note="REFUSED", note_ms=NOW), Lease(b"", "me", 5, NOW + 30_000, True, True)),
            (held(owner="me", fence=5, note="UNKEPT", note_ms=NOW), Lease(b"", "me", 5, NOW + 30_000, False, True)),
            (held(owner="me", fence=5, note="UNKEPT", note_ms=NOW - 60_000), Lease(b"", "me", 5, NOW + 30_000)),
            (held(owner="me", fence=5, note="Timeout", note_ms=NOW), Lease(b"", "me", 5, NOW + 30_000)),
            (held(-SKEW - 1, owner="me", fence=5), Lease(b"", "me", 5, NOW - SKEW - 1)),
            (held(), Held(held())),
            (held(-SKEW), Held(held(-SKEW))),
            (held(-SKEW - 1, fence=5), TryAbove(5)),
            (LeaseItem(State.FREE, "me", 5, NOW + 30_000), TryAbove(5)),
            (ended(State.FAILED, "Timeout", 59_999), Negative("Timeout")),
            (ended(State.FAILED, "Timeout", 60_000, fence=5), TryAbove(5)),
            (ended(State.FAILED, "Timeout", -SKEW), Negative("Timeout")),
            (ended(State.FAILED, "Timeout", -SKEW - 1, fence=5), TryAbove(5)),
            (ended(State.FAILED, "Other", 0, fence=5), TryAbove(5)),
            (ended(State.FREE, "Timeout", 0, fence=5), TryAbove(5)),
            (ended(State.DONE, fence=5), TryAbove(5)),
            (ended(State.ERASED, fence=5), TryAbove(5)),
        ],
    )
    def test_what_stood_in_the_way_decides(self, item, decision):
        """P17, P23, P25, F8: ours by a lost reply, another's, not to be asked again yet, or free above its fence."""
        assert decision == after_conflict(item, "me", NOW, ("Timeout",))

    def test_nothing_is_negative_unless_listed(self):
        """P17: the list is empty by default."""
        assert TryAbove(5) == after_conflict(ended(State.FAILED, "Timeout", fence=5), "me", NOW)

    def test_the_skew_is_the_books(self):
        """P23: as for every other sight of the lease."""
        assert TryAbove(5) == after_conflict(held(-500, fence=5), "me", NOW, (), 499)
        assert isinstance(after_conflict(held(-500, fence=5), "me", NOW, (), 500), Held)


class TestAFollowersSight:
    @pytest.mark.parametrize(
        ("item", "sight"),
        [
            (None, Sight.ACQUIRE),
            (held(), Sight.WAIT),
            (held(-SKEW), Sight.WAIT),
            (held(-SKEW - 1), Sight.ACQUIRE),
            (held(note="REFUSED", note_ms=NOW), Sight.ALONE),
            (held(note="REFUSED", note_ms=NOW - 60_000), Sight.WAIT),
            (ended(State.DONE), Sight.LOOK),
            (ended(State.FAILED, "Timeout"), Sight.SHARE),
            (ended(State.REFUSED, "REFUSED"), Sight.ALONE),
            (ended(State.FREE), Sight.ACQUIRE),
            (ended(State.ERASED), Sight.ACQUIRE),
        ],
    )
    def test_what_it_does(self, item, sight):
        """P17, P26, P48: docs/protocol.md, "What a follower does"."""
        assert sight is observed(item, NOW)

    @pytest.mark.parametrize(("fence", "sight"), [(9, Sight.WAIT), (10, Sight.SHARE), (11, Sight.SHARE)])
    def test_an_item_older_than_the_wait_is_no_news(self, fence, sight):
        """P17: an eventual read may show what was there before this caller began to wait."""
        assert sight is observed(ended(State.FAILED, fence=fence), NOW, since=10)

    def test_fences_count_from_0(self):
        """P17, control: a follower that names no fence takes every sight for news."""
        assert Sight.LOOK is observed(ended(State.DONE, fence=0), NOW)


@pytest.fixture
def items():
    return MemoryItems()


@pytest.fixture
def book(items, clock):
    return LeaseBook(items, clock, 30.0)


def stored(items):
    return items.stored[KEY, "LEASE"]


def seconds(clock, more=0):
    return {"N": str(clock.now_ms() // 1000 + more)}


class TestWhatLiesInTables:
    """Every attribute after each transition: another release, the eraser and the table's own expiry read them (P43)."""

    def test_after_an_acquire(self, book, items, clock):
        """P23: the time is the fence; the item outlives its lease by a day."""
        now = clock.now_ms()
        book.acquire(KEY, "me")

        assert {
            "pk": {"B": KEY},
            "kind": {"S": "LEASE"},
            "state": {"S": "HELD"},
            "owner": {"S": "me"},
            "fence": {"N": str(now)},
            "end_ms": {"N": str(now + 30_000)},
            "beat_ms": {"N": str(now)},
            "ttl": seconds(clock, 30 + 86_400),
        } == stored(items)

    def test_after_a_renewal(self, book, items, clock):
        """P23: end, beat and expiry move on, nothing else."""
        lease = book.acquire(KEY, "me")
        before = stored(items)
        clock.advance(10)

        assert book.renew(lease) is True
        assert before | {
            "end_ms": {"N": str(clock.now_ms() + 30_000)},
            "beat_ms": {"N": str(clock.now_ms())},
            "ttl": seconds(clock, 30 + 86_400),
        } == stored(items)

    def test_after_a_release(self, book, items, clock):
        """P17, P25: owner, fence and end stay for whoever reads them; the note says since when."""
        lease = book.acquire(KEY, "me")
        before = stored(items)
        clock.advance(10)

        assert book.release(lease, State.FAILED, "Timeout") is True
        assert before | {
            "state": {"S": "FAILED"},
            "note": {"S": "Timeout"},
            "note_ms": {"N": str(clock.now_ms())},
            "ttl": seconds(clock, 86_400),
        } == stored(items)

    @pytest.mark.parametrize(("state", "left"), [(State.DONE, set()), (State.FREE, {"note", "note_ms"})])
    def test_only_a_kept_answer_clears_the_note(self, book, items, state, left):
        """P48: a leader that ran out of time leaves a refusal as it was."""
        book.release(book.acquire(KEY, "me"), State.REFUSED, "REFUSED")
        book.release(book.acquire(KEY, "me"), state)

        assert left == stored(items).keys() & {"note", "note_ms"}

    def test_after_an_erase(self, book, items, clock):
        """P13: no owner, note or beat is left; the fence is the tombstone's."""
        book.release(book.acquire(KEY, "me"), State.FAILED, "Timeout")
        clock.advance(1)
        fence = book.fence_off(KEY)

        assert clock.now_ms() == fence
        assert {
            "pk": {"B": KEY},
            "kind": {"S": "LEASE"},
            "state": {"S": "ERASED"},
            "fence": {"N": str(fence)},
            "end_ms": {"N": str(clock.now_ms())},
            "ttl": seconds(clock, 86_400),
        } == stored(items)

    def test_an_erase_goes_one_above_what_it_is_told(self, book, clock):
        """P13: above the fence of the entry it removes, though our clock be behind that."""
        assert clock.now_ms() + 101 == book.fence_off(KEY, above=clock.now_ms() + 100)

    def test_an_erase_that_is_told_nothing_takes_the_time(self, items):
        """P13: fences begin at 1, and so does a clock that begins with the epoch."""
        assert 1 == LeaseBook(items, FakeClock(0), 30).fence_off(KEY)

    def test_an_erase_goes_one_above_what_stands_there(self, book, clock):
        """P13, P25: and never below its own."""
        lease = book.acquire(KEY, "me")
        clock.set_back(5)

        assert lease.fence + 1 == book.fence_off(KEY)

    def test_a_beat_is_a_third_of_a_lease(self, book):
        """P23: two lost renewals do not lose the lease."""
        assert 10.0 == book.beat_seconds


class Restless(MemoryItems):
    """A table on which somebody else is always faster: every write meets another's item."""

    def __init__(self, in_the_way):
        super().__init__()
        self.in_the_way = in_the_way
        self.tries = 0

    def exchange(self, *told):
        self.tries += 1
        return Conflict(self.in_the_way(self.tries))


def item_of(state, owner="other", fence=1):
    return {"state": {"S": state}, "owner": {"S": owner}, "fence": {"N": str(fence)}, "end_ms": {"N": "0"}}


class TestGivingUp:
    def test_three_tries_for_a_lease(self, clock):
        """P29: then the caller fetches without one; the error says that a later try may do."""
        items = Restless(lambda _number: item_of("FREE"))

        with pytest.raises(Throttled):
            LeaseBook(items, clock, 30).acquire(KEY, "me")
        assert 3 == items.tries

    def test_five_tries_for_an_erase(self, clock):
        """P13, P29: an erase that could not fence says so, it does not pretend."""
        items = Restless(lambda number: item_of("HELD", fence=START_MS * 2 + number))

        with pytest.raises(TierUnavailable):
            LeaseBook(items, clock, 30).fence_off(KEY)
        assert 5 == items.tries

    @pytest.mark.parametrize(
        ("found", "released"),
        [
            (item_of("DONE", "me", START_MS), True),
            (item_of("FREE", "me", START_MS), False),
            (item_of("DONE", "other", START_MS), False),
            (item_of("DONE", "me", START_MS + 1), False),
            (None, False),
        ],
    )
    def test_a_release_that_met_another_item(self, clock, found, released):
        """P25, F8: it is ours only if state, owner and fence are those we wrote ourselves."""
        lease = Lease(KEY, "me", START_MS, START_MS + 30_000)

        assert released is LeaseBook(Restless(lambda _number: found), clock, 30).release(lease, State.DONE)

    def test_a_taken_lease_whose_old_item_is_odd_is_held_all_the_same(self, clock):
        """P48, P18: the write is done; what stood there before can only say that nobody should wait."""

        class Odd(MemoryItems):
            def exchange(self, *told):
                return {"state": {"S": "NOVEL"}}

        lease = LeaseBook(Odd(), clock, 30).acquire(KEY, "me")

        assert ("me", False, False) == (lease.owner, lease.refused_lately, lease.unkept_lately)

    def test_a_holder_that_is_gone_is_no_obstacle(self):
        """P26, F9: the conflict's item expired before it was read: the next try is a first one again."""
        clock = FakeClock()

        class Vanishing(MemoryItems):
            tries = 0

            def exchange(self, *told):
                self.tries += 1
                return Conflict(None) if self.tries == 1 else super().exchange(*told)

        assert Lease(KEY, "me", clock.now_ms(), clock.now_ms() + 30_000) == LeaseBook(Vanishing(), clock, 30).acquire(
            KEY, "me"
        )


class TestNegativeNotes:
    @pytest.mark.parametrize(("later_s", "asked"), [(59.999, False), (60, True)])
    def test_the_write_itself_is_refused_for_a_minute(self, book, clock, later_s, asked):
        """P17: to the millisecond, and by the table, so that no caller slips in between."""
        book.release(book.acquire(KEY, "me"), State.FAILED, "Timeout")
        clock.advance(later_s)

        found = book.acquire(KEY, "you", ("Other", "Timeout"))

        assert asked == isinstance(found, Lease)
        assert asked or Negative("Timeout") == found

    def test_a_caller_with_no_list_asks_at_once(self, book, clock):
        """P17, control."""
        book.release(book.acquire(KEY, "me"), State.FAILED, "Timeout")
        clock.advance(0.001)

        assert isinstance(book.acquire(KEY, "you"), Lease)


class Hiding(MemoryItems):
    """An engine that does not return the item in the way of the first write; `absent` when it is asked for it as well."""

    def __init__(self):
        super().__init__()
        self.reads = []
        self.hides = False
        self.absent = False

    def exchange(self, *told):
        done = super().exchange(*told)
        if isinstance(done, Conflict) and self.hides:
            self.hides = False
            return Conflict(None)
        return done

    def get(self, key, kind, *, consistent=False):
        self.reads.append(consistent)
        return None if self.absent else super().get(key, kind, consistent=consistent)


class TestHiddenItems:
    """F9: without the item in the way one read decides; an eventual one might show what was there before."""

    @pytest.fixture
    def items(self):
        return Hiding()

    @pytest.fixture
    def book(self, items, clock):
        return LeaseBook(items, clock, 30)

    def test_an_acquire_reads_consistently(self, items, book):
        """P23, F9: and learns who holds it."""
        book.acquire(KEY, "other")
        items.hides = True

        assert "other" == book.acquire(KEY, "me").item.owner
        assert [True] == items.reads

    def test_a_release_reads_consistently(self, items, book):
        """P25, F9: and learns that the lease was lost."""
        lease = book.acquire(KEY, "me")
        book.fence_off(KEY, above=lease.fence)
        items.hides = True

        assert book.release(lease, State.DONE) is False
        assert [True] == items.reads

    def test_an_erase_reads_consistently(self, items, book, clock):
        """P13, F9: and goes above what stands there."""
        lease = book.acquire(KEY, "other")
        clock.set_back(5)
        items.hides = True

        assert lease.fence + 1 == book.fence_off(KEY)
        assert [True] == items.reads

    def test_an_erase_that_is_shown_the_item_reads_nothing(self, items, book, clock):
        """P13, control: the usual case costs two writes."""
        lease = book.acquire(KEY, "other")
        clock.set_back(5)

        assert lease.fence + 1 == book.fence_off(KEY)
        assert [] == items.reads

    def test_an_erase_whose_obstacle_has_gone_tries_again(self, items, book, clock):
        """P13, F9: neither the write nor the read shows it; the next try does."""
        items.absent = True
        lease = book.acquire(KEY, "other")
        clock.set_back(5)
        items.hides = True

        assert lease.fence + 1 == book.fence_off(KEY)
        assert [True] == items.reads

    def test_a_followers_poll_is_eventual_unless_it_asks(self, items, book):
        """P23: half the price, and what is old is no news."""
        book.read(KEY)
        book.read(KEY, consistent=True)

        assert [False, True] == items.reads


def test_a_lease_without_a_note_has_no_times():
    """P48: zero is no time at which anything was refused."""
    assert LeaseItem(State.FREE, "", 1, 1, "", 0, 0) == LeaseItem(State.FREE, "", 1, 1)

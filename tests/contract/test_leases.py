"""The lease book keeps its contract on every table: transitions of docs/protocol.md, one conditional write each."""

from __future__ import annotations

import pytest

from contract.tables import LEASE_SECONDS, TABLE, items_on
from hookcache.entry import Fence
from hookcache.errors import TierUnavailable
from hookcache.items import Conflict, Throttled
from hookcache.lease import (
    KIND,
    NEGATIVE_SECONDS,
    REFUSAL_SECONDS,
    SKEW_MS,
    TOMBSTONE_SECONDS,
    Held,
    Lease,
    LeaseBook,
    LeaseItem,
    Negative,
    OwnerId,
    State,
)

ME, OTHER = OwnerId("request-1/aaaa"), OwnerId("request-2/bbbb")
LEASE_MS = int(LEASE_SECONDS * 1000)


@pytest.fixture
def troubled_book(troubled, clock):
    items = items_on(troubled)
    yield LeaseBook(items, clock, LEASE_SECONDS)
    items.close()


class TestAcquire:
    def test_an_absent_lease_is_taken_with_the_time_as_its_fence(self, book, key, clock):
        """P23: one conditional write gives the right to fetch, with fence and end in wall time."""
        now = clock.now_ms()

        assert Lease(key, ME, Fence(now), now + LEASE_MS) == book.acquire(key, ME)
        assert LeaseItem(State.HELD, ME, Fence(now), now + LEASE_MS, beat_ms=now) == book.read(key, consistent=True)

    def test_a_second_caller_learns_who_holds_it(self, book, key, clock):
        """P23: while a lease holds, everybody else is told so, with the item that stood in the way."""
        first = book.acquire(key, ME)
        clock.advance(1)
        second = book.acquire(key, OTHER)

        assert isinstance(second, Held)
        assert (first.owner, first.fence, first.end_ms) == (second.item.owner, second.item.fence, second.item.end_ms)

    def test_it_holds_until_its_end_and_the_skew_beyond(self, book, key, clock):
        """F15: an ended lease that is still in the table is taken over, under a larger fence; not a moment earlier."""
        first = book.acquire(key, ME)
        clock.advance(LEASE_SECONDS + SKEW_MS / 1000)
        still = book.acquire(key, OTHER)
        clock.advance(0.001)
        taken = book.acquire(key, OTHER)

        assert isinstance(still, Held)
        assert (OTHER, True) == (taken.owner, taken.fence > first.fence)

    @pytest.mark.parametrize("state", [State.DONE, State.FAILED, State.FREE])
    def test_an_ended_fetch_leaves_the_lease_free(self, book, key, clock, state):
        """F15: the item of a released lease stays, and stands in nobody's way."""
        first = book.acquire(key, ME)
        book.release(first, state, "Broken" if state is State.FAILED else "")
        clock.advance(0.5)
        second = book.acquire(key, OTHER)

        assert (OTHER, True) == (second.owner, second.fence > first.fence)

    def test_a_clock_that_is_behind_takes_a_free_lease_above_its_fence(self, book, key, clock):
        """A writer whose clock is behind the last one's still gets a larger fence: it tries once more, above the one seen."""
        first = book.acquire(key, ME)
        book.release(first, State.FREE)
        clock.set_back(1.5)
        second = book.acquire(key, OTHER)

        assert (OTHER, first.fence + 1) == (second.owner, second.fence)

    def test_a_fence_from_the_far_future_blocks_nobody(self, book, key, clock):
        """A writer whose clock was a day ahead leaves a fence that others go above, and never below."""
        clock.advance(86_400)
        ahead = book.acquire(key, ME)
        book.release(ahead, State.DONE)
        clock.set_back(86_400)
        second = book.acquire(key, OTHER)
        book.release(second, State.DONE)
        third = book.acquire(key, ME)

        assert [ahead.fence, ahead.fence + 1, ahead.fence + 2] == [ahead.fence, second.fence, third.fence]

    def test_a_holder_from_the_future_does_not_block_the_key(self, book, key, clock):
        """P26: a holder whose clock was an hour ahead and who died is not waited for: its end means nothing."""
        clock.advance(3_600)
        ahead = book.acquire(key, ME)
        clock.set_back(3_600)
        taken = book.acquire(key, OTHER)

        assert (OTHER, ahead.fence + 1) == (taken.owner, taken.fence)
        assert not book.renew(ahead)

    def test_a_holder_ahead_within_the_skew_is_respected(self, book, key, clock):
        """P23: clocks may differ by `SKEW`; that alone takes no lease away."""
        clock.advance(SKEW_MS / 1000)
        book.acquire(key, ME)
        clock.set_back(SKEW_MS / 1000)

        assert isinstance(book.acquire(key, OTHER), Held)

    def test_our_own_lost_reply_is_recognised(self, troubled_book, troubled, key):
        """F8: the write was done, its reply was lost, the repeat meets our own name: we lead."""
        troubled.lose = 1
        lease = troubled_book.acquire(key, ME)

        assert (ME, ["update_item", "update_item"]) == (lease.owner, troubled.calls)
        assert troubled_book.renew(lease)

    def test_without_the_old_item_one_consistent_read_decides(self, troubled_book, troubled, key):
        """F9: an engine that hides the item in the way costs a read, and makes no second leader."""
        troubled_book.acquire(key, ME)
        troubled.hide_old = True
        second = troubled_book.acquire(key, OTHER)

        assert (ME, "get_item") == (second.item.owner, troubled.calls[-1])

    def test_two_repeated_writes_are_told_apart_by_owner(self, troubled_book, troubled, key):
        """F8 and F9 together: reply lost and item hidden, and it is still known whose lease it is."""
        troubled.lose, troubled.hide_old = 1, True

        assert ME == troubled_book.acquire(key, ME).owner

    @pytest.mark.parametrize("more", [{}, {"beat_ms": {"N": "7"}, "zone": {"M": {}}}], ids=["older", "newer"])
    def test_a_lease_of_another_release_is_a_lease(self, book, items, key, clock, more):
        """F39, P23, P25: one that says less than ours, or more, holds until its end and the skew beyond, and is then taken over."""
        now = clock.now_ms()
        said = {"state": {"S": "HELD"}, "owner": {"S": OTHER}, "fence": {"N": str(now)}, "end_ms": {"N": str(now + 9)}}
        items.put({"pk": {"B": key}, "kind": {"S": KIND}, **said, **more})
        clock.advance(0.001)
        held = book.acquire(key, ME)
        clock.advance((9 + SKEW_MS) / 1000)
        taken = book.acquire(key, ME)

        assert Held(LeaseItem.decode(said | more)) == held
        assert (ME, True) == (taken.owner, taken.fence > now)
        assert book.release(taken, State.DONE)

    DAMAGED = (
        {},
        {"state": {"S": "HELD"}, "end_ms": {"S": "soon"}, "beat_ms": {"N": "7"}},
        {"state": {"S": "HELD"}, "fence": {"N": "7"}, "owner": {"S": "else"}},
        {"state": {"N": "1"}, "fence": {"N": "1" + "0" * 50}, "end_ms": {"N": "8"}},
        {"state": {"S": "DONE"}, "fence": {"N": "9" * 38}, "end_ms": {"N": "8"}, "note": {"S": "REFUSED"}},
    )

    @pytest.mark.parametrize("damaged", DAMAGED, ids=str)
    def test_a_lease_item_that_is_not_ours_is_replaced(self, book, items, key, clock, damaged):
        """P18, P23: an item of another make would keep its key uncached for good; whoever comes next takes it."""
        items.put({"pk": {"B": key}, "kind": {"S": KIND}, **damaged})
        lease = book.acquire(key, ME)

        ttl = (clock.now_ms() + LEASE_MS) // 1000 + TOMBSTONE_SECONDS

        assert Lease(key, ME, Fence(clock.now_ms()), clock.now_ms() + LEASE_MS) == lease
        assert {"N": str(ttl)} == items.get(key, KIND, consistent=True)["ttl"]
        assert isinstance(book.acquire(key, OTHER), Held)
        assert book.renew(lease)
        assert book.release(lease, State.DONE)

    def test_a_damaged_items_fence_still_counts(self, book, items, key, clock):
        """P25: a fence that can be read may be that of an entry: the next one goes above it."""
        ahead = clock.now_ms() + 3_600_000
        items.put({"pk": {"B": key}, "kind": {"S": KIND}, "state": {"S": "NOVEL"}, "fence": {"N": str(ahead)}})

        assert ahead + 1 == book.acquire(key, ME).fence

    @pytest.mark.parametrize("damaged", DAMAGED, ids=str)
    def test_of_two_who_replace_it_one_leads(self, items, key, clock, damaged):
        """P23: it is replaced on condition that it is as it was read."""
        book, other = LeaseBook(items, clock, LEASE_SECONDS), LeaseBook(items, clock, LEASE_SECONDS)
        items.put({"pk": {"B": key}, "kind": {"S": KIND}, **damaged})

        class Slow(LeaseBook):
            def _replace(self, *told):
                leaders.append(other.acquire(key, OTHER))
                return super()._replace(*told)

        leaders = []
        second = Slow(items, clock, LEASE_SECONDS).acquire(key, ME)

        assert (OTHER, True) == (leaders[0].owner, isinstance(second, Held))
        assert book.renew(leaders[0])

    @pytest.mark.parametrize(
        "damage", [{"note_ms": {"S": "late"}}, {"note_ms": {"N": "7"}, "note": {"N": "9"}}], ids=str
    )
    def test_a_damaged_note_is_none_and_costs_nobody_a_lease(self, book, items, key, damage):
        """P23, P25: who took the lease over left the note as it was; it must not look damaged while it is held."""
        item = {
            "pk": {"B": key},
            "kind": {"S": KIND},
            "state": {"S": "DONE"},
            "fence": {"N": "7"},
            "end_ms": {"N": "8"},
        }
        items.put({**item, "note": {"S": "REFUSED"}, **damage})
        lease = book.acquire(key, ME)

        assert (ME, False) == (lease.owner, lease.refused_lately)
        assert isinstance(book.acquire(key, OTHER), Held)
        assert book.renew(lease)

    def test_an_item_that_goes_between_two_tries_stands_in_nobodys_way(self, items, key, clock):
        """P29: what was seen of it says nothing about the next one."""
        stood = {"state": {"S": "DONE"}, "fence": {"N": str(clock.now_ms() + 7)}, "end_ms": {"N": "8"}}

        class Vanishing(LeaseBook):
            told = [Conflict(stood), Conflict(None)]  # noqa: RUF012

            def _try(self, *how):
                return self.told.pop(0) if self.told else super()._try(*how)

        lease = Vanishing(items, clock, LEASE_SECONDS).acquire(key, ME)

        assert (ME, clock.now_ms()) == (lease.owner, lease.fence)

    def test_one_that_is_damaged_anew_at_every_try_is_table_trouble(self, items, key, clock):
        """P29: three tries, then the caller fetches without a lease."""

        class Restless(LeaseBook):
            def _try(self, *told):
                return self._replace(*told[:3], {})

            def _replace(self, *told):
                self.tries = getattr(self, "tries", 0) + 1
                items.put({"pk": {"B": key}, "kind": {"S": KIND}, "beat_ms": {"N": str(self.tries)}})
                return super()._replace(*told)

        with pytest.raises(TierUnavailable):
            Restless(items, clock, LEASE_SECONDS).acquire(key, ME)

    def test_a_lease_that_moves_at_every_try_is_given_up(self, items, key, clock):
        """P29: three tries, then the caller fetches without a lease."""

        class Restless(LeaseBook):
            def _try(self, *told):
                tried = super()._try(*told)
                book.fence_off(key)
                return tried

        book = LeaseBook(items, clock, LEASE_SECONDS)
        book.fence_off(key)
        clock.set_back(10)

        with pytest.raises(Throttled):
            Restless(items, clock, LEASE_SECONDS).acquire(key, ME)


class TestHolder:
    def test_a_renewal_puts_the_end_off(self, book, key, clock):
        """P23: a holder that renews keeps the lease however long its fetch takes."""
        lease = book.acquire(key, ME)
        for _ in range(10):
            clock.advance(book.beat_seconds)
            assert book.renew(lease)

        assert clock.now_ms() + LEASE_MS == book.read(key, consistent=True).end_ms
        assert isinstance(book.acquire(key, OTHER), Held)

    def test_who_lost_the_lease_can_neither_renew_nor_release_the_next_one(self, book, key, clock):
        """P25: a late holder leaves its successor's lease exactly as it is."""
        late = book.acquire(key, ME)
        clock.advance(LEASE_SECONDS + 3)
        book.acquire(key, OTHER)
        before = book.read(key, consistent=True)

        assert [False, False] == [book.renew(late), book.release(late, State.DONE)]
        assert before == book.read(key, consistent=True)

    def test_the_same_caller_under_an_older_fence_is_another_holder(self, book, key, clock):
        """P25: owner and fence both count."""
        older = book.acquire(key, ME)
        clock.advance(LEASE_SECONDS + 3)
        newer = book.acquire(key, OwnerId(ME + "x"))
        stolen = Lease(key, newer.owner, older.fence, older.end_ms)

        assert [False, False] == [book.renew(stolen), book.release(stolen, State.FREE)]

    def test_a_release_whose_reply_was_lost_is_no_lost_lease(self, troubled_book, troubled, key):
        """F8: the repeat of a release that was done finds it done; nothing was lost."""
        lease = troubled_book.acquire(key, ME)
        troubled.lose = 1

        assert troubled_book.release(lease, State.FAILED, "Broken")

    @pytest.mark.parametrize(
        ("state", "note"), [(State.DONE, ""), (State.FAILED, "Broken"), (State.REFUSED, "REFUSED"), (State.FREE, "")]
    )
    def test_the_item_says_how_it_ended(self, book, key, clock, state, note):
        """Followers read state and note; the fence stays."""
        lease = book.acquire(key, ME)
        clock.advance(1)
        assert book.release(lease, state, note)
        item = book.read(key, consistent=True)

        assert (state, note, lease.fence) == (item.state, item.note, item.fence)
        assert (clock.now_ms() if note else 0) == item.note_ms

    def test_an_ended_lease_cannot_be_renewed(self, book, key):
        """A heartbeat that arrives after the release brings nothing back."""
        lease = book.acquire(key, ME)
        book.release(lease, State.DONE)

        assert not book.renew(lease)
        assert State.DONE == book.read(key, consistent=True).state


class TestErase:
    def test_a_fenced_lease_is_lost_to_its_holder(self, book, key, clock):
        """P13: fetches begun before can neither renew nor release, and their fence is below the tombstone's."""
        lease = book.acquire(key, ME)
        fence = book.fence_off(key)
        item = book.read(key, consistent=True)

        assert (State.ERASED, "", fence) == (item.state, item.owner, item.fence)
        assert fence > lease.fence
        assert [False, False] == [book.renew(lease), book.release(lease, State.DONE)]

    def test_a_key_that_nobody_ever_asked_for_is_fenced_too(self, book, key, clock):
        """P13: the fence is there before the first fetch is."""
        assert clock.now_ms() == book.fence_off(key)
        assert State.ERASED == book.read(key, consistent=True).state

    def test_the_fence_goes_above_what_stands_there(self, book, key, clock):
        """P13: above the lease's fence, and above the entry's, whatever the eraser's clock says."""
        lease = book.acquire(key, ME)
        clock.set_back(60)

        assert lease.fence + 1 == book.fence_off(key)
        assert lease.fence + 1_000_001 == book.fence_off(key, Fence(lease.fence + 1_000_000))

    def test_after_it_a_new_fetch_gets_a_larger_fence(self, book, key):
        """A fetch begun after the erase may store anew."""
        fence = book.fence_off(key)
        lease = book.acquire(key, ME)

        assert (ME, fence + 1) == (lease.owner, lease.fence)

    def test_it_clears_what_earlier_fetches_left(self, book, key, clock):
        """No note of a refusal or failure outlives an erase."""
        book.release(book.acquire(key, ME), State.REFUSED, "REFUSED")
        book.fence_off(key)

        assert "" == book.read(key, consistent=True).note
        assert not book.acquire(key, OTHER).refused_lately

    def test_a_lost_reply_costs_a_larger_fence_and_nothing_else(self, troubled_book, troubled, key):
        """F8: the repeat meets our own fence and goes above it."""
        troubled.lose = 1
        fence = troubled_book.fence_off(key)

        assert fence == troubled_book.read(key, consistent=True).fence


class TestNotes:
    def test_a_listed_failure_is_not_repeated_for_a_minute(self, book, key, clock):
        """P17: negative notes hold an error type of the operator's list, and only for `NEGATIVE`."""
        book.release(book.acquire(key, ME), State.FAILED, "Broken")
        clock.advance(NEGATIVE_SECONDS - 0.001)
        noted = book.acquire(key, OTHER, {"Broken", "Worse"})
        clock.advance(0.001)
        later = book.acquire(key, OTHER, {"Broken", "Worse"})

        assert (Negative("Broken"), OTHER) == (noted, later.owner)

    @pytest.mark.parametrize("ahead", [SKEW_MS / 1000, 3_600], ids=["within the skew", "an hour"])
    def test_a_failure_noted_by_a_wrong_clock_keeps_nobody_from_the_backend(self, book, key, clock, ahead):
        """P17, F31: noted an hour ahead, it would be repeated for an hour and a minute."""
        clock.advance(ahead)
        book.release(book.acquire(key, ME), State.FAILED, "Broken")
        clock.set_back(ahead)
        taken = book.acquire(key, OTHER, {"Broken"})

        assert Negative("Broken") == taken if ahead == SKEW_MS / 1000 else OTHER == taken.owner

    @pytest.mark.parametrize(("note", "listed"), [("Broken", ()), ("Broken", {"Worse"}), ("BROKEN", {"Broken"})])
    def test_any_other_failure_stands_in_nobodys_way(self, book, key, note, listed):
        """P17: off until types are listed, and exact."""
        book.release(book.acquire(key, ME), State.FAILED, note)

        assert isinstance(book.acquire(key, OTHER, listed), Lease)

    def test_a_listed_failure_ends_with_the_next_success(self, book, key, clock):
        """P17: the note goes with the answer that follows it."""
        book.release(book.acquire(key, ME), State.FAILED, "Broken")
        clock.advance(1)
        book.release(book.acquire(key, OTHER), State.DONE)

        assert isinstance(book.acquire(key, ME, {"Broken"}), Lease)

    def test_a_refusal_is_known_to_all_for_a_minute(self, book, key, clock):
        """P48: both who takes the lease in that minute and who finds it held know that nobody waits here."""
        book.release(book.acquire(key, ME), State.REFUSED, "REFUSED")
        clock.advance(REFUSAL_SECONDS - 1)
        lease = book.acquire(key, OTHER)
        held = book.acquire(key, ME)

        assert lease.refused_lately
        assert held.item.refused_lately(clock.now_ms())
        clock.advance(1)
        assert not held.item.refused_lately(clock.now_ms())

    def test_a_refusal_noted_by_a_wrong_clock_is_none(self, book, key, clock):
        """P23, F31: noted an hour ahead, callers would go to the backend side by side for an hour and a minute."""
        clock.advance(3_600)
        book.release(book.acquire(key, ME), State.REFUSED, "REFUSED")
        clock.set_back(3_600)

        assert not book.acquire(key, OTHER).refused_lately
        assert not book.acquire(key, ME).item.refused_lately(clock.now_ms())

    def test_a_kept_answer_ends_the_refusal(self, book, key, clock):
        """P48: from then on callers wait for each other again."""
        book.release(book.acquire(key, ME), State.REFUSED, "REFUSED")
        book.release(book.acquire(key, OTHER), State.DONE)

        assert not book.acquire(key, ME).refused_lately


def test_a_lease_item_costs_one_write_unit(client, key, clock):
    """3.1: less than 1 KB, whatever it has been through; its ttl outlives the longest fetch."""
    items = items_on(client)
    book = LeaseBook(items, clock, LEASE_SECONDS)
    book.release(book.acquire(key, OwnerId("0" * 70)), State.FAILED, "E" * 64)
    clock.advance(1)
    book.acquire(key, OwnerId("1" * 70))
    stored = client.get_item(TableName=TABLE, Key={"pk": {"B": key}, "kind": {"S": KIND}}, ConsistentRead=True)["Item"]
    items.close()

    assert 1024 > sum(len(name) + len(str(next(iter(value.values())))) for name, value in stored.items()) + 64
    assert (clock.now_ms() + LEASE_MS) // 1000 + 24 * 3_600 == int(stored["ttl"]["N"])

"""The table tier keeps its contract on every table: fences decide who may write, tags decide what may be read."""

from __future__ import annotations

import os

import pytest

from contract.tables import TABLE, entry_of, items_on, sealer
from hookcache.breaker import Breaker
from hookcache.errors import TierUnavailable
from hookcache.items import Conflict, Items, Throttled
from hookcache.outcome import Reason
from hookcache.overflow import Overflow
from hookcache.sealer import INLINE_BYTES
from hookcache.spending import Spending
from hookcache.table import NEWER_FENCE_ONLY, Found, Missing, TableTier
from hookcache_ops.local import engines

LARGE = os.urandom(INLINE_BYTES + 1)  # does not compress, so it overflows


class TestLookUp:
    def test_what_was_put_is_found_as_it_was(self, tier, key):
        """P8: bytes in, the same bytes out, with every number as it was."""
        entry = entry_of(key, 7, b'{"text": "\xc3\xa9", "usage": {"pages": 1.5}}' * 50)
        assert tier.put(entry) is None

        assert Found(entry) == tier.get(key)
        assert Found(entry) == tier.get(key, consistent=True)

    def test_a_key_without_entry_is_absent(self, tier, key):
        """P58: the look-up says why it found nothing."""
        assert Missing(Reason.ABSENT) == tier.get(key)

    def test_a_damaged_body_is_corrupt(self, tier, items, key):
        """P6, F10: a flipped bit is a miss with an alarm."""
        item = dict(sealer().seal(entry_of(key, 7)).item)
        body = bytearray(item["body"]["B"])
        body[3] ^= 1
        items.put(item | {"body": {"B": bytes(body)}})

        assert Missing(Reason.CORRUPT) == tier.get(key)

    def test_another_keys_entry_is_corrupt(self, tier, items, key):
        """P6, F11: an entry names its own key under its tag."""
        item = sealer().seal(entry_of(bytes(32), 7)).item
        items.put(item | {"pk": {"B": key}})

        assert Missing(Reason.CORRUPT) == tier.get(key)

    def test_another_schema_is_no_alarm(self, tier, items, key):
        """F12: entries of another release are misses, in both directions."""
        item = sealer().seal(entry_of(key, 7)).item
        items.put(item | {"schema": {"N": "999"}})

        assert Missing(Reason.SCHEMA) == tier.get(key)

    def test_a_tombstone_tells_its_fence(self, tier, items, key):
        """P13: an erased key is a miss for that reason."""
        items.put(sealer().tombstone(key, 70, 1_790_000_000))

        assert Missing(Reason.ERASED, 70) == tier.get(key)


class TestFences:
    @pytest.mark.parametrize("fence", [6, 7])
    def test_a_fence_that_is_not_larger_is_refused(self, tier, key, fence):
        """P25: whoever led earlier cannot replace what came later."""
        newer = entry_of(key, 7, b'{"newer": 1}')
        tier.put(newer)

        assert Reason.SUPERSEDED == tier.put(entry_of(key, fence, b'{"older": 1}'))
        assert Found(newer) == tier.get(key, consistent=True)

    def test_a_larger_fence_replaces(self, tier, key):
        """P25: a refresh, a refill after expiry, a fetch after a take-over."""
        tier.put(entry_of(key, 7))
        newer = entry_of(key, 8, b'{"newer": 1}')

        assert tier.put(newer) is None
        assert Found(newer) == tier.get(key, consistent=True)

    def test_a_tombstone_keeps_earlier_fetches_out_and_lets_later_ones_in(self, tier, items, key):
        """P13: only a fetch begun after the erase may store."""
        tier.put(entry_of(key, 7))
        assert not isinstance(
            items.put(sealer().tombstone(key, 9, 0), NEWER_FENCE_ONLY, {":mine": {"N": "9"}}), Conflict
        )

        assert Reason.SUPERSEDED == tier.put(entry_of(key, 8))
        assert Missing(Reason.ERASED, 9) == tier.get(key, consistent=True)
        assert tier.put(entry_of(key, 10)) is None

    def test_a_tombstone_does_not_pass_a_newer_entry(self, tier, items, key):
        """3.7: the eraser learns what is in its way, and starts over above it."""
        tier.put(entry_of(key, 7))
        refused = items.put(sealer().tombstone(key, 7, 0), NEWER_FENCE_ONLY, {":mine": {"N": "7"}})

        assert (True, "7") == (isinstance(refused, Conflict), refused.old["fence"]["N"])

    def test_fences_compare_as_numbers(self, tier, key):
        """A fence of more digits is larger, whatever its first digit."""
        tier.put(entry_of(key, 999))

        assert tier.put(entry_of(key, 1_000)) is None

    @pytest.mark.parametrize("hidden", [False, True])
    def test_our_own_put_is_recognised_when_its_reply_was_lost(self, troubled, bucket, key, hidden):
        """F8, F9: the repeat meets what we wrote ourselves, and its overflow object stays."""
        items = items_on(troubled)
        tier = TableTier(items, sealer(), Overflow(lambda: bucket, "overflow", Spending()))
        troubled.lose, troubled.hide_old = 1, hidden
        entry = entry_of(key, 7, LARGE)

        assert tier.put(entry) is None
        assert Found(entry) == tier.get(key, consistent=True)
        items.close()

    def test_our_own_put_in_place_of_a_damaged_entry_is_recognised_as_well(self, troubled, bucket, key):
        """F8, F10: what stood there had a larger fence, which means nothing; our overflow object stays."""
        items = items_on(troubled)
        tier = TableTier(items, sealer(), Overflow(lambda: bucket, "overflow", Spending()))
        items.put(sealer().seal(entry_of(key, 9)).item | {"tag": {"B": b"of nobody"}})
        troubled.lose = 1
        entry = entry_of(key, 7, LARGE)

        assert tier.put(entry) is None
        assert Found(entry) == tier.get(key, consistent=True)
        items.close()


class TestOverflow:
    def test_a_large_body_goes_to_the_bucket_and_comes_back(self, tier, bucket, key):
        """P49: over `INLINE` the object is written first, then the item that names it."""
        entry = entry_of(key, 7, LARGE)

        assert tier.put(entry) is None
        assert Found(entry) == tier.get(key)
        assert [f"entries/{key.hex()}/7-"] == [name[:-64] for name in bucket.names("overflow")]

    def test_a_replaced_body_is_deleted(self, tier, bucket, key):
        """P49: no object outlives the item that named it, if it can be helped."""
        tier.put(entry_of(key, 7, LARGE))
        tier.put(entry_of(key, 8, LARGE + b"2"))
        tier.put(entry_of(key, 9, b"{}"))

        assert [] == bucket.names("overflow")

    def test_a_body_that_lost_to_a_newer_fence_is_deleted(self, tier, bucket, key):
        """P49: a refused put leaves no orphan, and the winner's body alone."""
        newer = entry_of(key, 8, LARGE)
        tier.put(newer)

        assert Reason.SUPERSEDED == tier.put(entry_of(key, 7, LARGE))
        assert Found(newer) == tier.get(key)
        assert 1 == len(bucket.names("overflow"))

    def test_a_missing_body_is_a_miss(self, tier, bucket, key):
        """S45: the entry is not served, and the next fill replaces it."""
        tier.put(entry_of(key, 7, LARGE))
        (name,) = bucket.names("overflow")
        bucket.delete_object(Bucket="overflow", Key=name)

        assert Missing(Reason.CORRUPT) == tier.get(key)
        assert tier.put(entry_of(key, 8, LARGE)) is None

    def test_a_body_that_went_with_its_entry_is_no_alarm(self, tier, items, bucket, key):
        """P49: an old item read late names a body that is gone; the entry that replaced it is found instead."""
        newer = entry_of(key, 8, LARGE + b"2")
        tier.put(entry_of(key, 7, LARGE))
        old = items.get(key, "ENTRY", consistent=True)
        tier.put(newer)
        late = TableTier(_Late(items, old), sealer(), Overflow(lambda: bucket, "overflow", Spending()))

        assert Found(newer) == late.get(key)

    def test_without_a_bucket_a_large_answer_is_not_kept(self, items, key):
        """P49: there is no place for it; the reason says so."""
        assert Reason.ANSWER_SIZE == TableTier(items, sealer(), None).put(entry_of(key, 7, LARGE))
        assert Missing(Reason.ABSENT) == TableTier(items, sealer(), None).get(key)

    @pytest.mark.parametrize("kb", [349, 351])
    def test_entries_around_the_bound_fit(self, tier, key, kb):
        """S43: neither side of `INLINE` meets the table's own limit."""
        entry = entry_of(key, 7, os.urandom(kb * 1024))

        assert tier.put(entry) is None
        assert Found(entry) == tier.get(key)


class TestItems:
    def test_every_reply_reports_its_capacity(self, client, key, request):
        """P56: own cost is what the table says it charged; a reply without it would count as cut short."""
        spending = Spending()
        items = items_on(client, spending)
        tier = TableTier(items, sealer(), None)
        tier.get(key)
        read = spending.take()
        tier.put(entry_of(key, 7))
        written = spending.take()
        items.put_all([{"pk": {"B": key}, "kind": {"S": f"INDEX#{number}"}} for number in range(26)])
        batch = spending.take()
        items.close()

        assert ({"table_read_units"}, {"table_write_units"}) == (read.keys(), written.keys())
        assert (True, True) == (read["table_read_units"] > 0, written["table_write_units"] >= 1)
        exact = not request.node.callspec.params["client"].endswith(engines.MOTO)  # which counts requests, not items
        assert batch["table_write_units"] >= (26 if exact else 1)

    def test_a_refused_write_shows_what_stands_there(self, client, key):
        """3.2: the old item comes with the refusal, so that no read is needed."""
        items = items_on(client)
        first = sealer().seal(entry_of(key, 7)).item
        items.put(first)
        refused = items.put(sealer().seal(entry_of(key, 6)).item, NEWER_FENCE_ONLY, {":mine": {"N": "6"}})
        items.close()

        assert Conflict(first) == refused

    def test_a_table_that_is_not_there_is_unavailable(self, client, clock, key):
        """F7: an error that asking again will not cure, told in our own terms."""
        items = Items(lambda: client, TABLE + "-gone", Breaker(clock), Spending(), budget_seconds=20.0)
        with pytest.raises(TierUnavailable) as caught:
            items.get(key, "ENTRY")
        items.close()

        assert (False, False) == (caught.value.transient, isinstance(caught.value, Throttled))


class _Late:
    """A table whose eventual reads still show `old`."""

    def __init__(self, items, old):
        self._items, self._old = items, old

    def get(self, key, kind, *, consistent=False):
        return self._items.get(key, kind, consistent=True) if consistent else self._old

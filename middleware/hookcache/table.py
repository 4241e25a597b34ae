"""Tier 2: entries in the table, large bodies in the overflow bucket."""

from __future__ import annotations

from hookcache.entry import Entry, Fence, Item
from hookcache.errors import EntryRejected, TierUnavailable
from hookcache.items import Conflict, Items
from hookcache.key import CacheKey
from hookcache.outcome import Reason
from hookcache.overflow import HIDDEN, Overflow
from hookcache.sealer import Sealer, Tombstone, body_of
from hookcache.value import value

NEWER_FENCE_ONLY = "attribute_not_exists(fence) OR fence < :mine"


@value
class Found:
    """An entry as its writer sealed it. Whether it may be used is for `policy.judge` to say."""

    entry: Entry


@value
class Missing:
    """No usable entry, and what one look-up can know about why (P58). `fence`: of the tombstone, where there is one."""

    reason: Reason
    fence: Fence = Fence(0)


class TableTier:
    """
    Entries by key.

    Args:
        items: the table.
        sealer: makes and checks stored forms.
        overflow: bucket for large bodies; None refuses them.
    """

    def __init__(self, items: Items, sealer: Sealer, overflow: Overflow | None) -> None:
        self._items = items
        self._sealer = sealer
        self._overflow = overflow

    def get(self, key: CacheKey, *, consistent: bool = False) -> Found | Missing:
        """
        The entry under `key`. A damaged, foreign or differently versioned one is `Missing`, with that reason.

        Raises:
            TierUnavailable: table or bucket gave no usable reply.
        """
        item = self._items.get(key, "ENTRY", consistent=consistent)
        if item is None:
            return Missing(Reason.ABSENT)
        try:
            opened = self._sealer.open(key, item, self._fetch)
        except EntryRejected as rejected:
            if "overflow" in item and not consistent:
                # A body goes with the entry it belonged to, perhaps between our two reads: only a consistent look can
                # tell a replaced entry from a damaged one.
                return self.get(key, consistent=True)
            return Missing(rejected.reason)
        if isinstance(opened, Tombstone):
            return Missing(Reason.ERASED, opened.fence)
        return Found(opened)

    def put(self, entry: Entry) -> Reason | None:
        """
        Keep `entry` unless a newer fence stands there (P25). None if kept, else the reason why not.

        The overflow object is written first, so that no item ever names a body that is not there. One that turns out to be
        nobody's is deleted at once.

        Raises:
            TierUnavailable: it is not known whether the entry was kept; an object left behind goes by the lifecycle.
        """
        sealed = self._sealer.seal(entry)
        if sealed.overflow_name is not None:
            if self._overflow is None:
                return Reason.ANSWER_SIZE
            self._overflow.put(sealed.overflow_name, sealed.overflow_body)
        written = self._items.put(sealed.item, NEWER_FENCE_ONLY, {":mine": {"N": str(entry.fence)}})
        if not isinstance(written, Conflict):
            self._forget_body(entry.key, written, sealed.overflow_name)
            return None
        old = self._met(entry.key, written)
        if _is_ours(old, sealed.item):
            return None
        if old is not None and self._sealer.is_damaged(entry.key, old) and self._replace(entry.key, old, sealed.item):
            return None
        self._forget_body(entry.key, sealed.item, None)
        return Reason.SUPERSEDED

    def _met(self, key: CacheKey, conflict: Conflict) -> Item | None:
        """What stood in a write's way; read where the engine does not say it (F9)."""
        return conflict.old if conflict.old is not None else self._items.get(key, "ENTRY", consistent=True)

    def _replace(self, key: CacheKey, damaged: Item, item: Item) -> bool:
        """Put an entry in place of one that is not as sealed: its fence means nothing and would stay in the way (F10)."""
        seen = damaged.get("tag")
        condition = "attribute_not_exists(tag)" if seen is None else "tag = :seen"
        written = self._items.put(item, condition, {":seen": seen} if seen else None)
        return not isinstance(written, Conflict) or _is_ours(self._met(key, written), item)

    def _forget_body(self, key: CacheKey, item: Item | None, kept: str | None) -> None:
        name = body_of(key, item)
        if self._overflow is not None and name is not None and name != kept:
            self._overflow.delete(name)

    def _fetch(self, name: str, size_bytes: int) -> bytes:
        if self._overflow is None:
            raise TierUnavailable("the entry's body is in an overflow bucket; set HOOKCACHE_OVERFLOW_BUCKET")
        return self._overflow.get(name, size_bytes, HIDDEN)


def _is_ours(met: Item | None, item: Item) -> bool:
    """Did our own write stand in its repeat's way? Its first reply was lost (F8)."""
    return met is not None and met.get("tag") == item["tag"]

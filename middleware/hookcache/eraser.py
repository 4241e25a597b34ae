"""
Erase: remove what was kept of an image, a request or a key, and forbid its return (docs/protocol.md, "States").

    find the keys         by INDEX items: every identity and generation, fetches in flight included (P46)
    per key               fence the lease, then put a tombstone under the same fence; if the entry bears a larger one,
                          start over above it
                          delete the overflow object, whose name the tombstone bears; then the index items
    wait SETTLE_SECONDS   (the caller) until replicas that a first look may read have followed

A fetch begun before the fence can no longer store (P13); one begun after it may store anew. An erase that was cut short
is simply run again. The hook never imports this: its role can neither list nor delete items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from hookcache.clock import Clock
from hookcache.entry import Fence, Item
from hookcache.erasable import ErasableItems
from hookcache.errors import HookCacheError, TierUnavailable
from hookcache.hints import Any
from hookcache.index import index_item, index_kind, indexed_key
from hookcache.items import Conflict
from hookcache.key import CacheKey, Keyer
from hookcache.lease import KIND as LEASE
from hookcache.lease import TOMBSTONE_SECONDS, LeaseBook, LeaseItem
from hookcache.overflow import Overflow
from hookcache.sealer import Sealer, body_of
from hookcache.table import NEWER_FENCE_ONLY
from hookcache.value import members, value

TRIES = 5
"""How often an entry with a larger fence sends an erase back to the lease before the operator is told."""
SETTLE_SECONDS = 2.0
"""First looks are eventual reads, and DynamoDB's copies agree "usually within one second": so long an erase waits at its end."""
PARALLEL = 8
LISTED = 1_000
"""A report names so many keys at most; its totals count all."""

Found = dict[CacheKey, dict[bytes, str]]
"""What there is to erase: per key, the indexes that it was found under, each with the `ttl` that its item had."""


class EraseFailed(HookCacheError):
    """A key could not be erased; the message says what to do."""


@value
class Removed:
    """
    What became of one key, without content.

    Attributes:
        key_id: as receipts show the key.
        entry: `removed`, `erased_before`, or `none` where nothing was kept; under a dry run, what would become of it.
        created_ms, stored_bytes: of the entry, as its writer said.
        fetches_stopped: 1 if a fetch was in flight, which can no longer store.
        error: why the key was not erased, empty where it was.
    """

    key_id: str
    entry: str = "none"
    created_ms: int = 0
    stored_bytes: int = 0
    overflow_objects: int = 0
    index_items: int = 0
    fetches_stopped: int = 0
    error: str = ""


class Tally:
    """The report of an erase while it grows."""

    def __init__(self) -> None:
        self._listed: list[Removed] = []
        self._totals = dict.fromkeys(("entries", "bytes", "overflow_objects", "index_items", "fetches_stopped"), 0)
        self.count = self.failed = 0

    def add(self, removed: Removed) -> None:
        self.count += 1
        self.failed += bool(removed.error)
        self._totals["entries"] += removed.entry == "removed"
        self._totals["bytes"] += removed.stored_bytes
        for name in ("overflow_objects", "index_items", "fetches_stopped"):
            self._totals[name] += getattr(removed, name)
        if len(self._listed) < LISTED:
            self._listed.append(removed)

    def report(self) -> dict[str, Any]:
        listed = [members(removed) for removed in self._listed]
        return {"keys": self.count, **self._totals, "failed": self.failed, "removed": listed}


class Eraser:
    """
    Erases under one secret and namespace.

    Args:
        overflow: bucket of large bodies; None if there is none.
    """

    def __init__(
        self,
        items: ErasableItems,
        keyer: Keyer,
        sealer: Sealer,
        book: LeaseBook,
        overflow: Overflow | None,
        clock: Clock,
    ) -> None:
        self._items = items
        self._keyer = keyer
        self._sealer = sealer
        self._book = book
        self._overflow = overflow
        self._clock = clock

    def find(self, indexes: Iterable[bytes]) -> Found:
        """
        The keys under `indexes` (of `Keyer`): whatever identity and generation, fetches in flight included.

        Raises:
            TierUnavailable: the table cannot be asked.
        """
        found: Found = {}
        for index in dict.fromkeys(indexes):
            for item in self._items.indexed(index):
                key = indexed_key(item)
                if key is not None:
                    found.setdefault(key, {}).update({index: ttl} if (ttl := _ttl_of(item)) else {})
        return found

    def erase(self, found: Found, *, dry_run: bool = False) -> Iterator[list[Removed]]:
        """
        Erase what `find` gave, a few keys at a time; trouble with a key is in its `error`.

        It may be left at any point: the keys given until then are erased, no other was begun, and those are to be found again.
        """
        act = self._look if dry_run else self._erase
        pairs = list(found.items())
        with ThreadPoolExecutor(PARALLEL, "hookcache-erase") as pool:
            for start in range(0, len(pairs), PARALLEL):
                yield list(pool.map(act, pairs[start : start + PARALLEL]))

    def _look(self, found: tuple[CacheKey, dict[bytes, str]]) -> Removed:
        key, indexes = found
        try:
            entry = self._items.get(key, "ENTRY", consistent=True)
            stopped = self._is_in_flight(self._items.get(key, LEASE, consistent=True))
            return self._report(key, entry, len(_bodies(key, entry)), len(self._known(key, indexes)), stopped)
        except TierUnavailable as unavailable:
            return Removed(self._keyer.shown(key), error=str(unavailable))

    def _erase(self, found: tuple[CacheKey, dict[bytes, str]]) -> Removed:
        key, indexes = found
        try:
            stopped = self._is_in_flight(self._readable_lease(key))
            entry = self._items.get(key, "ENTRY", consistent=True)
            fence, replaced = self._bury(key, body_of(key, entry))
            bodies = _bodies(key, entry) | _bodies(key, replaced)
            left = self._delete_bodies(bodies)
            # While a body is left the key must be found again, and its tombstone says which.
            forgotten = 0 if left else self._forget(key, indexes, fence)
        except (TierUnavailable, EraseFailed) as trouble:
            return Removed(self._keyer.shown(key), error=str(trouble))
        return self._report(key, replaced or entry, len(bodies) - len(left), forgotten, stopped, left)

    def _bury(self, key: CacheKey, body: str | None) -> tuple[Fence, Item | None]:
        """Fence the lease and put the tombstone, which names the `body` to delete; gives its fence, and the item that it replaced."""
        fence = Fence(0)
        for _ in range(TRIES):
            fence = self._book.fence_off(key, above=fence)
            ttl = int(self._clock.now_ms()) // 1000 + TOMBSTONE_SECONDS
            tombstone = self._sealer.tombstone(key, fence, ttl, body)
            written = self._items.put(tombstone, NEWER_FENCE_ONLY, {":mine": {"N": str(fence)}})
            if not isinstance(written, Conflict):
                return fence, written
            old = written.old or self._items.get(key, "ENTRY", consistent=True) or {}
            if old.get("tag") == tombstone["tag"]:
                return fence, None  # our own: the first reply was lost, and the repeat met it
            above = _fence_of(old)
            if above is None:
                self._items.delete(key, "ENTRY")  # no writer of ours made it, so none of ours can replace it
            else:
                fence = Fence(max(fence, above))
        raise EraseFailed(f"the entry was stored anew at each of {TRIES} tries; run the erase again")

    def _forget(self, key: CacheKey, indexes: Mapping[bytes, str], fence: Fence) -> int:
        """
        Delete the index items that lead to `key`, as far as they are known; gives their number.

        A fetch that began after the fence has written the same items anew and counts on them: deleting those would hide
        its entry from the next erase. So they are put back where the lease has moved on meanwhile.
        """
        known = self._known(key, indexes)
        gone = [index for index, ttl in known.items() if self._items.delete_unchanged(index, key, ttl)]
        lease = self._book.read(key, consistent=True)
        if lease is None or lease.fence <= fence:
            return len(gone)
        for index in gone:
            self._items.put(index_item(index, key, self._clock.now_ms()))
        return 0

    def _known(self, key: CacheKey, indexes: Mapping[bytes, str]) -> Mapping[bytes, str]:
        """The indexes that `key` was found under, and the one of its own id, which an erase deletes as well."""
        own = self._keyer.shown_index(self._keyer.shown(key))
        item = self._items.get(own, index_kind(key), consistent=True)
        return {**indexes, **({own: ttl} if (ttl := _ttl_of(item or {})) else {})}

    def _delete_bodies(self, names: set[str]) -> list[str]:
        """Delete overflow objects; gives the names of those that are left."""
        overflow = self._overflow
        return [name for name in names if overflow is None or not any(overflow.delete(name) for _ in range(TRIES))]

    def _readable_lease(self, key: CacheKey) -> Item | None:
        """The lease item; one that no writer of ours made is deleted, for it would stand in every fence's way."""
        item = self._items.get(key, LEASE, consistent=True)
        try:
            if item is not None:
                LeaseItem.decode(item)
        except TierUnavailable:
            self._items.delete(key, LEASE)
            return None
        return item

    def _is_in_flight(self, lease: Item | None) -> int:
        try:
            return int(lease is not None and LeaseItem.decode(lease).is_held(self._clock.now_ms()))
        except TierUnavailable:
            return 0

    def _report(
        self, key: CacheKey, entry: Item | None, bodies: int, indexes: int, stopped: int, left: Collection[str] = ()
    ) -> Removed:
        shown = self._keyer.shown(key)
        error = (
            "a large body could not be deleted: run the same command again, or the bucket's lifecycle will do it"
            if left
            else ""
        )
        if entry is None or "erased" in entry:
            state = "none" if entry is None else "erased_before"
            return Removed(shown, state, 0, 0, bodies, indexes, stopped, error)
        created_ms, stored_bytes = _whole(entry, "created_ms"), _whole(entry, "stored_bytes")
        return Removed(shown, "removed", created_ms, stored_bytes, bodies, indexes, stopped, error)


def _bodies(key: CacheKey, entry: Item | None) -> set[str]:
    name = body_of(key, entry)
    return set() if name is None else {name}


def _fence_of(entry: Item) -> Fence | None:
    try:
        return Fence(int(entry["fence"]["N"]))
    except (KeyError, ValueError, TypeError):
        return None


def _ttl_of(index_item: Item) -> str:
    """The `ttl` of an index item, empty where somebody damaged it: its key is erased all the same."""
    return str(index_item.get("ttl", {}).get("N", ""))


def _whole(entry: Mapping[str, Mapping[str, Any]], name: str) -> int:
    number = str(entry.get(name, {}).get("N", ""))
    return int(number) if number.isdigit() else 0

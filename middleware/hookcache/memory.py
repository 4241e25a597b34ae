"""Tier 1: the answers of this execution environment, bounded in real bytes, judged by wall clock."""

from __future__ import annotations

import threading

from hookcache.clock import Clock, EpochMillis
from hookcache.entry import Entry
from hookcache.key import CacheKey
from hookcache.lru import LRUCache
from hookcache.value import replace, value

SLOT_BYTES = 300
"""What the table of the LRU itself costs per entry: a dictionary slot, a link, its key and the copy, measured with tracemalloc."""


@value
class _Copy:
    entry: Entry
    until_ms: EpochMillis
    held_bytes: int
    was_asked: bool = False


class MemoryTier:
    """
    Least recently used entries, at most `size_bytes` of them.

    A copy lives at most `seconds`, by wall clock: a monotonic clock stands still while Lambda freezes the environment,
    and starts near 0 on a cold start (P11, S31). Freshness of the entry itself is judged by the caller, on every read.
    An entry that is asked for once will be asked for again: then it is kept in the spelling that is read quickest.
    """

    def __init__(self, size_bytes: int, seconds: float, clock: Clock) -> None:
        self._copies: LRUCache[CacheKey, _Copy] = LRUCache(size_bytes, getsizeof=lambda copy: copy.held_bytes)
        self._life_ms = int(seconds * 1000)
        self._clock = clock
        self._lock = threading.Lock()

    def get(self, key: CacheKey) -> Entry | None:
        """The copy under `key`, or None; one that outlived its time is dropped."""
        with self._lock:
            copy = self._copies.get(key)
            if copy is None:
                return None
            now = self._clock.now_ms()
            # A copy that seems to end later than any copy may was made by a clock since set back: its time says nothing.
            if not now < copy.until_ms <= now + self._life_ms:
                del self._copies[key]
                return None
        if not copy.was_asked:
            self._quicken(copy)
        return copy.entry

    def _quicken(self, copy: _Copy) -> None:
        # Outside the lock: a large one takes its time, and nobody waits for it.
        quick = replace(copy, entry=copy.entry.quickened(), was_asked=True)
        with self._lock:
            if self._copies.get(quick.entry.key) is copy:
                self._copies[quick.entry.key] = quick

    def put(self, entry: Entry, since_ms: EpochMillis | None = None) -> None:
        """
        Keep a copy, but for one that the copy held here has replaced (P51): in threads, an answer may have been read of the
        table before another was kept, and come here after it. Of one that alone passes the tier's bound nothing is kept.

        Args:
            since_ms: when its life begins, now if None. Who had it of the table says when that was asked: the environment may
                have stood still before the reply was read, and the entry may have been erased meanwhile (P13).
        """
        held_bytes = entry.held_bytes() + SLOT_BYTES
        begun_ms = self._clock.now_ms() if since_ms is None else since_ms
        copy = _Copy(entry, EpochMillis(begun_ms + self._life_ms), held_bytes)
        with self._lock:
            held = self._copies.get(entry.key)
            if held is not None and held.entry.fence > entry.fence:
                return
            self._copies.pop(entry.key)
            if held_bytes <= self._copies.maxsize:
                self._copies[entry.key] = copy

    def drop(self, key: CacheKey) -> None:
        """Forget the copy under `key`, if there is one."""
        with self._lock:
            self._copies.pop(key, None)

    @property
    def held_bytes(self) -> int:
        with self._lock:
            return int(self._copies.currsize)

"""
What was used last, within a bound: a dictionary that makes room for the new by what was not used for longest.

As `cachetools.LRUCache`, whose module holds a dozen kinds of caches and loads `random` for one of them: 0.4 MB and 5 ms of CPU
of a cold start, and twice the time of a look-up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, ValuesView

from hookcache.hints import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LRUCache(Generic[K, V]):
    """
    Values whose sizes add up to `maxsize` at most. Not safe for threads by itself, as no look-up is without a change.

    Args:
        getsizeof: the size of a value, which must not change while it is held; without it each counts one.
    """

    __slots__ = ("_held", "_size_of", "currsize", "maxsize")

    def __init__(self, maxsize: int, getsizeof: Callable[[V], int] = lambda _: 1) -> None:
        self.maxsize, self.currsize = maxsize, 0
        self._size_of = getsizeof
        self._held: OrderedDict[K, V] = OrderedDict()

    def __getitem__(self, key: K) -> V:
        value = self._held[key]
        self._held.move_to_end(key)
        return value

    def get(self, key: K) -> V | None:
        """The value under `key`, which is the last used from now on, or None."""
        value = self._held.get(key)
        if value is not None:
            self._held.move_to_end(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        size = self._size_of(value)
        if size > self.maxsize:
            raise ValueError("the value alone passes the bound")
        self.pop(key)
        self._held[key] = value
        self.currsize += size
        while self.currsize > self.maxsize:
            self.currsize -= self._size_of(self._held.popitem(last=False)[1])

    def __delitem__(self, key: K) -> None:
        self.currsize -= self._size_of(self._held.pop(key))

    def pop(self, key: K, default: V | None = None) -> V | None:
        """Take the value under `key` out, if there is one, and give it."""
        if key not in self._held:
            return default
        value = self._held[key]
        del self[key]
        return value

    def clear(self) -> None:
        self._held.clear()
        self.currsize = 0

    def values(self) -> ValuesView[V]:
        """As they lie, the last used at the end."""
        return self._held.values()

    def __iter__(self) -> Iterator[K]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

"""
Stack distances: how large a least-recently-used tier must be for each request to find its key in it.

The distance of a request is the bytes of all different keys asked for since the key was last asked for, its own included.
A tier of B bytes that drops nothing by time holds the key exactly if the distance is at most B, so that one pass gives
the curve at every size. Sums come from a tree of partial sums over the places of the last requests.

Source: Mattson et al., "Evaluation techniques for storage hierarchies" (1970), for the idea.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

FIRST_SLOTS = 1_024


class Stack:
    """The recency stack of one tier."""

    def __init__(self) -> None:
        self._slots: dict[Hashable, tuple[int, int]] = {}
        self._sums = [0] * (FIRST_SLOTS + 1)
        self._next = 1
        self._held = 0

    def ask(self, key: Hashable, size: int) -> int | None:
        """The distance of a request for `key`, whose entry holds `size`; None the first time."""
        last = self._slots.pop(key, None)
        distance = None
        if last is not None:
            slot, held = last
            distance = self._held - self._up_to(slot) + size
            self._add(slot, -held)
            self._held -= held
        if self._next >= len(self._sums):
            self._renumber()
        self._slots[key] = (self._next, size)
        self._add(self._next, size)
        self._held += size
        self._next += 1
        return distance

    def holds(self, key: Hashable) -> bool:
        """Was the key ever asked for?"""
        return key in self._slots

    def _add(self, slot: int, amount: int) -> None:
        sums, end = self._sums, len(self._sums)
        while slot < end:
            sums[slot] += amount
            slot += slot & -slot

    def _up_to(self, slot: int) -> int:
        total, sums = 0, self._sums
        while slot:
            total += sums[slot]
            slot &= slot - 1
        return total

    def _renumber(self) -> None:
        """Close the gaps that older requests left; make room for as many again."""
        in_order = sorted(self._slots.items(), key=lambda pair: pair[1][0])
        self._sums = [0] * max(FIRST_SLOTS + 1, 2 * len(in_order) + 1)
        self._slots = {}
        for slot, (key, (_, size)) in enumerate(in_order, 1):
            self._slots[key] = (slot, size)
            self._add(slot, size)
        self._next = len(in_order) + 1


def distances(asked: Iterable[tuple[Hashable, Hashable, int, bool]]) -> list[int]:
    """The finite distances, ascending, of requests given as (tier, key, size, whether an answer made for it is kept)."""
    stacks: dict[Hashable, Stack] = {}
    found = []
    for tier, key, size, keeps in asked:
        stack = stacks.get(tier)
        if stack is None:
            stack = stacks[tier] = Stack()
        if not keeps and not stack.holds(key):
            continue  # nothing came of it that could push others out
        distance = stack.ask(key, size)
        if distance is not None:
            found.append(distance)
    return sorted(found)


def hits_within(ascending: Sequence[int], size: float) -> int:
    """How many requests a tier of `size` answers."""
    return bisect_right(ascending, size)

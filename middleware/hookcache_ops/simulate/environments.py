"""
Which execution environment answered which request: as its receipt says, else guessed.

Receipts of earlier versions do not name theirs. Lambda gives an environment one request at a time, and prefers one that
is warm. So requests that overlap were in different environments, a cold start opens one, and otherwise the one that was
free last goes on. Receipts come in the order in which they ended; a jump back in time begins another file, whose
environments are others.
"""

from __future__ import annotations

from bisect import bisect_right, insort

JUMP_MS = 3_600_000
TOLERANCE_MS = 1
"""Times are whole milliseconds: what lies within one counts as one after the other."""

MOST_IDLE = 1_000


class Environments:
    """Numbers environments as requests are told of, in the order of their ends."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []
        self._next = 0
        self._latest_ms = 0
        self._named: dict[str, int] = {}
        self.guessed = 0
        """Requests whose environment the log does not name."""

    def of(self, start_ms: int, end_ms: int, *, cold: bool, named: object = None) -> int:
        """The environment of a request; `named` where the log has a word for it."""
        if named:
            return self._named.setdefault(str(named), -1 - len(self._named))
        self.guessed += 1
        if end_ms < self._latest_ms - JUMP_MS:
            self._free.clear()
            self._latest_ms = end_ms
        self._latest_ms = max(self._latest_ms, end_ms)
        at = bisect_right(self._free, (start_ms + TOLERANCE_MS, self._next)) - 1
        if cold or at < 0:
            if cold and at >= 0:
                del self._free[: at + 1]  # with these alive Lambda would not have started another
            number = self._next
            self._next += 1
        else:
            number = self._free.pop(at)[1]
        insort(self._free, (end_ms, number))
        if len(self._free) > MOST_IDLE:
            del self._free[0]
        return number

    @property
    def count(self) -> int:
        return self._next + len(self._named)

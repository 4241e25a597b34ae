"""
What the log knows of requests that ended otherwise than they would under other settings: how long, and at what own cost.

A request that ends as it did keeps its own time and cost. One that ends differently is given those of a request of the
same step that really ended so, drawn by its place, so that a replay gives the same figures each time.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hookcache.outcome import Outcome

if TYPE_CHECKING:
    from hookcache.key import CacheKey
    from hookcache_ops.simulate.trace import Request

KEPT = 400
"""Observed times kept for each step and outcome."""

ANY = ""
BACKEND = "backend"
LOOKUP = "lookup"
_ASKING = frozenset({Outcome.MISS, Outcome.REFRESH, Outcome.OBSERVE, Outcome.BYPASS})
_INSTEAD = {
    Outcome.HIT_MEMORY.value: (Outcome.HIT_MEMORY.value, Outcome.HIT_TABLE.value, LOOKUP),
    Outcome.HIT_TABLE.value: (Outcome.HIT_TABLE.value, LOOKUP, Outcome.HIT_MEMORY.value),
    BACKEND: (BACKEND,),
    LOOKUP: (LOOKUP, Outcome.HIT_TABLE.value),
}


class _Seen:
    """A fair choice of what was seen, of bounded size, and the mean of all."""

    __slots__ = ("count", "kept", "total")

    def __init__(self) -> None:
        self.kept: list[float] = []
        self.count = 0
        self.total = 0.0

    def add(self, value: float, chance: random.Random) -> None:
        self.count += 1
        self.total += value
        if len(self.kept) < KEPT:
            self.kept.append(value)
        else:
            at = int(chance.random() * self.count)
            if at < KEPT:
                self.kept[at] = value


class Experience:
    """Times and own costs by step and outcome, from the whole log; answers by key, from the sample."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], _Seen] = {}
        self._own: dict[tuple[str, str], _Seen] = {}
        self._means: dict[tuple[str, str], float] = {}
        self._answers: dict[CacheKey, tuple[float | None, int]] = {}
        self._sizes = _Seen()
        self._chance = random.Random(0)
        self.gigabytes = 0.0

    def add(self, request: Request) -> None:
        """Learn from a receipt."""
        outcome = request.outcome
        if outcome is None:
            if request.backend_ms is not None:
                self._note(self._times, request.context, BACKEND, request.backend_ms)
            return
        if not request.checked:  # whose time and cost are those of its check
            self._note(self._own, request.context, outcome.value, request.own_cost)
        if request.latency_ms is not None:
            if not request.checked:
                self._note(self._times, request.context, outcome.value, request.latency_ms)
            if (outcome in _ASKING or request.checked) and request.backend_ms is not None:
                self._note(self._times, request.context, BACKEND, request.backend_ms)
                self._note(self._times, request.context, LOOKUP, max(0.0, request.latency_ms - request.backend_ms))
        if request.size_bytes:
            self._sizes.add(request.size_bytes, self._chance)

    def remember_answer(self, request: Request) -> None:
        """How long the backend takes for this very key, and how large its answer is."""
        if request.key is None or not (request.size_bytes or request.backend_ms is not None):
            return
        backend_ms, size_bytes = self._answers.get(request.key, (None, 0))
        worked = request.backend_ms if not request.fails and request.backend_ms is not None else backend_ms
        self._answers[request.key] = (worked, request.size_bytes or size_bytes)

    def size_bytes(self, request: Request) -> int:
        """Bytes of its entry in memory: its own, else those of its key, else the log's mean."""
        if request.size_bytes:
            return request.size_bytes
        known = self._answers.get(request.key, (None, 0))[1] if request.key is not None else 0
        return known or round(self._sizes.total / max(1, self._sizes.count)) or UNKNOWN_BYTES

    def latency_ms(self, request: Request, outcome: Outcome) -> float | None:
        """How long it takes when it ends as `outcome`; None if nothing in the log says."""
        if (outcome is request.outcome or request.checked) and request.latency_ms is not None:
            return request.latency_ms
        if outcome in {Outcome.HIT_MEMORY, Outcome.HIT_TABLE}:
            return self._draw(request, outcome.value)
        return self.fetch_ms(request)

    def fetch_ms(self, request: Request) -> float | None:
        """How long it takes when the backend is asked."""
        if request.asked and request.latency_ms is not None:
            return request.latency_ms
        backend_ms = request.backend_ms
        if backend_ms is None and request.key is not None:
            backend_ms = self._answers.get(request.key, (None, 0))[0]
        if backend_ms is None:
            backend_ms = self._draw(request, BACKEND)
        if backend_ms is None:
            return None
        return backend_ms + (self._draw(request, LOOKUP) or 0.0)

    def own_cost(self, request: Request, outcome: Outcome) -> float:
        if outcome is request.outcome or request.checked:
            return request.own_cost
        told = self._means.get((request.context, outcome))
        if told is None:
            told = self._means[request.context, outcome] = self._mean_own(request, outcome.value)
        return told

    def _mean_own(self, request: Request, wanted: str) -> float:
        for name in (wanted, *(_INSTEAD.get(wanted, ())), Outcome.MISS.value):
            for context in (request.context, ANY):
                seen = self._own.get((context, name))
                if seen is not None:
                    return seen.total / seen.count
        return 0.0

    def _draw(self, request: Request, name: str) -> float | None:
        for instead in _INSTEAD[name]:
            for context in (request.context, ANY):
                seen = self._times.get((context, instead))
                if seen is not None:
                    return seen.kept[(request.place ^ request.start_ms) % len(seen.kept)]
        return None

    def has_seen(self, outcome: Outcome) -> bool:
        """Did any request of the log end so?"""
        return (ANY, outcome.value) in self._times

    def _note(self, into: dict[tuple[str, str], _Seen], context: str, name: str, value: float) -> None:
        for told in (context, ANY):
            seen = into.get((told, name))
            if seen is None:
                seen = into[told, name] = _Seen()
            seen.add(value, self._chance)


UNKNOWN_BYTES = 8_192
"""What an entry is taken to hold where no answer of the log tells its size."""

"""
What a replay, or the log itself, adds up to; and how a sample's sums become an estimate for the whole log.

    estimate = the log's own sum + (the replay's sum over the sample - the log's own sum over the sample) * scale

The log's own sums are exact, for every receipt is read. So only what a setting changes is estimated, and a popular key
that the sample holds or lacks by chance drops out. The scale is 1 / rate or better (`sampling.scaled`). Payload logs have
no outcomes of their own; with "all answered" in their place and 1 / rate this is the correction known as SHARDS-adj.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from hookcache.outcome import Outcome
from hookcache_ops.ledger.histogram import Histogram
from hookcache_ops.receipts import HITS
from hookcache_ops.simulate.sampling import Figure, Known, scaled
from hookcache_ops.simulate.trace import GROUPS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COUNTED = tuple(outcome.value for outcome in Outcome)


class Sums:
    """Sums over one group of keys: requests by outcome, backend calls, money, and time."""

    __slots__ = ("calls", "latency_ms", "outcomes", "own", "saved", "spent", "timed")

    def __init__(self) -> None:
        self.outcomes: dict[str, float] = dict.fromkeys(COUNTED, 0)
        self.calls = 0.0
        self.spent = 0.0
        self.saved = 0.0
        self.own = 0.0
        self.latency_ms = 0.0
        self.timed = 0.0

    @property
    def requests(self) -> float:
        return sum(self.outcomes.values())

    @property
    def hits(self) -> float:
        return sum(self.outcomes[outcome.value] for outcome in HITS)

    @property
    def net(self) -> float:
        return self.saved - self.own


class Tally:
    """Sums by group of keys, and all latencies as one histogram."""

    __slots__ = ("groups", "times")

    def __init__(self) -> None:
        self.groups = [Sums() for _ in range(GROUPS)]
        self.times = Histogram()

    def add(
        self, group: int, outcome: Outcome, *, asked: bool, cost: float, own: float, latency_ms: float | None
    ) -> None:
        """
        Count one request that ended as `outcome`.

        `asked` tells that the backend was called; what that cost is spent, what a hit's answer cost is saved (P57).
        """
        sums = self.groups[group]
        sums.outcomes[outcome] += 1  # an outcome is its own word
        sums.own += own
        if asked:
            sums.calls += 1
            sums.spent += cost
        elif outcome in HITS:
            sums.saved += cost
        if latency_ms is not None:
            sums.latency_ms += latency_ms
            sums.timed += 1
            self.times.add(latency_ms)

    def total(self, figure: Callable[[Sums], float]) -> float:
        return sum(map(figure, self.groups))


_KNOWN = tuple(map(attrgetter, ("calls", "spent", "hits", "requests")))
"""Sums of the whole log that a change may go with."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """
    The figures of one replay for the whole log.

    Args:
        log: the log's own sums, all of it. `sampled`: the same of the sample alone. `replay`: of the sample, replayed.
    """

    log: Tally
    sampled: Tally
    replay: Tally
    rate: float

    def figure(self, of: Callable[[Sums], float]) -> Figure:
        change = self.change(self.sampled, of)
        return Figure(self.log.total(of) + change.value, change.error)

    def change(self, since: Tally, of: Callable[[Sums], float]) -> Figure:
        """By how much the replay differs from `since`, another tally of the same sample, for the whole log."""
        changes = [of(new) - of(old) for new, old in zip(self.replay.groups, since.groups, strict=True)]
        return scaled(changes, self._known(), self.rate)

    def _known(self) -> list[Known]:
        return [Known(self.log.total(of), [of(sums) for sums in self.sampled.groups]) for of in _KNOWN]

    @property
    def requests(self) -> float:
        return self.log.total(lambda sums: sums.requests)

    def outcomes(self) -> dict[str, Figure]:
        """By outcome; a sample can put a rare one below zero, which then reads zero."""
        found = {}
        for name in COUNTED:
            figure = self.figure(lambda sums, name=name: sums.outcomes[name])  # type: ignore[misc]
            if figure.value or figure.error:
                found[name] = Figure(max(0.0, figure.value), figure.error)
        return found

    def latency(self) -> dict[str, float] | None:
        """Mean, p50 and p99 in milliseconds; None unless every request's time is known."""
        if self.replay.total(lambda sums: sums.requests - sums.timed):
            return None
        timed = self.figure(lambda sums: sums.timed).value
        if timed <= 0:
            return None
        mean = self.figure(lambda sums: sums.latency_ms).value / timed
        times = self._times()
        return {"mean": max(0.0, mean), "p50": times.percentile(50), "p99": times.percentile(99)}

    def _times(self) -> Histogram:
        """The histogram of the estimate: bin by bin as every other sum."""
        if self.rate >= 1:
            return self.replay.times
        whole = Histogram()
        new, old = self.replay.times.bins, self.sampled.times.bins
        for at in {*self.log.times.bins, *new}:
            count = self.log.times.bins.get(at, 0) + round((new.get(at, 0) - old.get(at, 0)) / self.rate)
            if count > 0:
                whole.bins[at] = count
        whole.count = sum(whole.bins.values())
        whole.smallest = min(self.log.times.smallest, self.replay.times.smallest)
        whole.largest = max(self.log.times.largest, self.replay.times.largest)
        return whole

    def to_json(self) -> Mapping[str, Any]:
        requests = self.requests
        hits = self.figure(lambda sums: sums.hits)
        latency = self.latency()
        return {
            "requests": round(requests),
            "outcomes": {name: figure.to_json() for name, figure in self.outcomes().items()},
            "hits": hits.to_json(),
            "hit_ratio": hits.over(requests).to_json(),
            "by_tier": {
                outcome.value: self.figure(lambda sums, o=outcome: sums.outcomes[o.value])  # type: ignore[misc]
                .over(requests)
                .to_json()
                for outcome in HITS
            },
            "backend_calls": self.figure(lambda sums: sums.calls).to_json(),
            "cost": self.figure(lambda sums: sums.spent).to_json(),
            "saved_cost": self.figure(lambda sums: sums.saved).to_json(),
            "own_cost": self.figure(lambda sums: sums.own).to_json(),
            "net_savings": self.figure(lambda sums: sums.net).to_json(),
            "latency_ms": None if latency is None else {name: round(value, 3) for name, value in latency.items()},
        }

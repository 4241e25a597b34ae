"""
The sample: all requests of some keys, chosen by a hash of the key, as few as fit (spatial sampling).

    place of a key   0 ------------- threshold -------------------- 2**64       rate = threshold / 2**64
                     |  its requests    |  none of its requests      |
                     |  are replayed    |  is, but all are counted   |

While more requests come than fit, the threshold is halved and what lies above it is let go. A tier of B bytes becomes one
of rate x B bytes, which sees the same competition in small.

Source: Waldspurger et al., "Efficient MRC Construction with SHARDS" (FAST 2015), and "Cache Modeling and Optimization
using Miniature Simulations" (ATC 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hookcache_ops.simulate.trace import Request

SPAN = 1 << 64
MOST_REQUESTS = 100_000
"""Replayed at most unless told otherwise: about 60 MiB."""
FEWEST_KEYS = 1_000
T_95 = 2.04
"""Student's t for 95 % with one degree of freedom less than there are groups (32)."""


@dataclass(slots=True)
class Sample:
    """
    What of a log is replayed.

    Args:
        threshold: places below it are taken.
        most: halve the threshold beyond so many requests; None never does.
    """

    threshold: int = SPAN
    most: int | None = MOST_REQUESTS
    requests: list[Request] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.threshold / SPAN

    @property
    def is_exact(self) -> bool:
        return self.threshold == SPAN

    def add(self, request: Request) -> None:
        if request.place >= self.threshold:
            return
        self.requests.append(request)
        if self.most is not None and len(self.requests) > self.most:
            self._thin()

    def _thin(self) -> None:
        # With few keys left one more halving would leave the log to chance: rather hold more requests of them.
        if self.keys // 2 < FEWEST_KEYS:
            self.most = 2 * (self.most or 1)
            return
        self.threshold //= 2
        self.requests = [request for request in self.requests if request.place < self.threshold]

    @property
    def keys(self) -> int:
        return len({request.place for request in self.requests})

    def in_time(self) -> list[Request]:
        """In the order of their starts; equal ones in the order of the log."""
        self.requests.sort(key=_start)
        return self.requests


def _start(request: Request) -> int:
    return request.start_ms


@dataclass(frozen=True, slots=True)
class Figure:
    """An amount and its half width at 95 %, 0 where it is exact."""

    value: float
    error: float = 0.0

    def over(self, whole: float) -> Figure:
        return Figure(self.value / whole, self.error / whole) if whole else Figure(0.0)

    def to_json(self) -> dict[str, float]:
        return {"value": round(self.value, 9), "error_95": round(self.error, 9)}


@dataclass(frozen=True, slots=True)
class Known:
    """A sum that is known of the whole log, and its part in each group of the sample."""

    whole: float
    groups: Sequence[float]


def scaled(changes: Sequence[float], known: Iterable[Known], rate: float) -> Figure:
    """
    The sum of `changes`, one for each group of sampled keys, for the whole log.

    Scaled by 1 / `rate`, or by how much larger a known sum is in the log than in the sample, whichever leaves the groups
    closest together: what a setting changes goes with the log's backend calls, say, and of these the sample may by chance
    hold too few or too many.
    """
    total = sum(changes)
    best = Figure(total / rate, error_95(changes, rate))
    if rate >= 1 or not best.error:
        return best
    for each in known:
        held = sum(each.groups)
        if held <= 0:
            continue
        ratio = total / held
        rest = [change - ratio * part for change, part in zip(changes, each.groups, strict=True)]
        error = error_95(rest, rate) * (each.whole * rate / held)
        if error < best.error:
            best = Figure(ratio * each.whole, error)
    return best


def error_95(differences: Iterable[float], rate: float) -> float:
    """
    The half width, at 95 %, of an estimate summed over groups of sampled keys and scaled by 1 / `rate`.

    Each group is a small sample of its own; how far they lie apart says how far another sample would have been off.
    """
    values = list(differences)
    if rate >= 1 or len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return T_95 * math.sqrt(len(values) * variance * (1 - rate)) / rate

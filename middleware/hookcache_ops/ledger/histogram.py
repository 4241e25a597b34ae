"""Times as a histogram with bins of equal ratio: percentiles of any number of values within 2 %, and sums that merge exactly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

RATIO = 1.04  # a bin's upper bound over its lower: the middle is within 2 % of every value in it
_LOG = math.log(RATIO)
FLOOR_MS = 0.01  # everything below counts as 0


class Histogram:
    """Counts per bin; count, sum, smallest and largest are exact. Values are milliseconds >= 0."""

    __slots__ = ("bins", "count", "largest", "smallest", "total")

    def __init__(self) -> None:
        self.bins: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.smallest = math.inf
        self.largest = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        if value < self.smallest:
            self.smallest = value
        if value > self.largest:
            self.largest = value
        at = bin_of(value)
        self.bins[at] = self.bins.get(at, 0) + 1

    def merge(self, other: Histogram) -> None:
        self.count += other.count
        self.total += other.total
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)
        for at, count in other.bins.items():
            self.bins[at] = self.bins.get(at, 0) + count

    @property
    def average(self) -> float:
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """The value below which `percent` of the values lie (nearest rank), never outside what was seen; 0 if empty."""
        if not self.count:
            return 0.0
        rank, seen = max(1, math.ceil(self.count * percent / 100)), 0
        for at in sorted(self.bins):
            seen += self.bins[at]
            if seen >= rank:
                return min(max(middle_of(at), self.smallest), self.largest)
        return self.largest


def bin_of(value: float) -> int:
    """The number of the bin, 0 for all below FLOOR_MS."""
    return 0 if value < FLOOR_MS else 1 + int(math.log(value / FLOOR_MS) / _LOG)


def middle_of(at: int) -> float:
    """The value that stands for a bin: off by at most (RATIO - 1) / (RATIO + 1) of any value in it."""
    return 0.0 if at == 0 else FLOOR_MS * RATIO ** (at - 1) * 2 * RATIO / (RATIO + 1)


def merged(histograms: Iterable[Histogram]) -> Histogram:
    whole = Histogram()
    for histogram in histograms:
        whole.merge(histogram)
    return whole

"""Which receipts are asked for: a range of their times."""

from __future__ import annotations

from dataclasses import dataclass

from hookcache_ops.bad_input import BadInput


class SourceError(BadInput):
    """A source of receipts cannot be read; the text names it and the remedy."""


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open range of receipt times, epoch milliseconds; None is open."""

    since_ms: int | None = None
    until_ms: int | None = None

    def holds(self, time_ms: int) -> bool:
        return (self.since_ms is None or time_ms >= self.since_ms) and (
            self.until_ms is None or time_ms < self.until_ms
        )

"""Which receipts are asked for: a range of their times."""

from __future__ import annotations

from dataclasses import dataclass

from hookcache_ops.bad_input import BadInput
from hookcache_ops.times import moment_ms


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


def parse_period(since: str | None, until: str | None, now_ms: int) -> Period:
    """
    The half-open period [since, until).

    Raises:
        SourceError: a time that cannot be read, or a period that ends before it begins.
    """
    period = Period(_time_ms(since, "--since", now_ms), _time_ms(until, "--until", now_ms))
    if period.since_ms is not None and period.until_ms is not None and period.until_ms <= period.since_ms:
        raise SourceError(f"--until {until} is not after --since {since}; swap them")
    return period


def _time_ms(text: str | None, option: str, now_ms: int) -> int | None:
    if text is None:
        return None
    try:
        return moment_ms(text, now_ms)
    except ValueError:
        raise SourceError(f"{option} {text!r} is no time; write 2026-11-01, 2026-11-01T08:00Z or 7d") from None

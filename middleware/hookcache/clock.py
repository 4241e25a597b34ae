"""The only source of time and waiting: wall clock for lifetimes, elapsed time for latency, the invocation's deadline."""

from __future__ import annotations

import math
import time

from hookcache.hints import Any, NewType, Protocol

EpochMillis = NewType("EpochMillis", int)

MARGIN_SECONDS = 1.0
"""What the handler keeps in hand before its deadline (P21)."""


class Clock(Protocol):
    """Time as hookcache sees it; tests settle it by hand."""

    def now_ms(self) -> EpochMillis:
        """Wall clock in epoch milliseconds: the only judge of lifetimes, for it runs on while an environment is frozen."""

    def elapsed(self) -> float:
        """Seconds since some moment, never going back: for latencies only, it may stand still in a frozen environment."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The clock of the machine."""

    def now_ms(self) -> EpochMillis:
        return time.time_ns() // 1_000_000  # type: ignore[return-value]  # a call of EpochMillis is half of this one's time

    def elapsed(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def whole_micros(seconds: float) -> float:
    """Milliseconds to the microsecond: what lies below says nothing, and is paid for by the byte in every line of a log."""
    return round(seconds * 1e6) / 1000


class Countdown:
    """A bound that several calls share."""

    __slots__ = ("_ends",)

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def seconds(self) -> float:
        """How much is left; 0 once it is over."""
        return max(0.0, self._ends - time.monotonic())


class Deadline:
    """
    How much of this invocation's time is left, as the Lambda context tells it.

    A context that says 0 means "none left"; one that cannot say (a direct call in a test or a decorator outside Lambda)
    means "no limit". Promise: P21. Source: AWS Lambda Developer Guide, "Python context object".
    """

    __slots__ = ("_remaining",)

    def __init__(self, context: Any) -> None:
        self._remaining = getattr(context, "get_remaining_time_in_millis", None)

    def remaining_seconds(self) -> float:
        """Seconds until the platform kills the invocation; infinity where nobody will."""
        if not callable(self._remaining):
            return math.inf
        told = self._remaining()
        if isinstance(told, bool) or not isinstance(told, int | float):
            return math.inf  # a stand-in of a test: it cannot say
        return told / 1000.0

    def usable_seconds(self) -> float:
        """What may be spent before the handler must return: the rest less `MARGIN_SECONDS`, never negative."""
        return max(0.0, self.remaining_seconds() - MARGIN_SECONDS)

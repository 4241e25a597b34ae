"""When to stop asking a table that does not answer, and when to try again."""

from __future__ import annotations

import threading
from enum import Enum

from hookcache.clock import Clock

OPENS_AFTER = 3
PROBE_EVERY_SECONDS = 1.0


class Pass(Enum):
    """What the breaker says to the next operation."""

    GO = "go"
    PROBE = "probe"
    STOP = "stop"


class Breaker:
    """
    Closed until `OPENS_AFTER` failures in a row, then open: a dead table costs nothing (P19).

    While open it lets one probe a second pass; the caller makes it beside the request and not in its way. Measured with
    elapsed time: a frozen environment only delays its next probe, and a wall clock set back cannot stop them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._next_probe = 0.0

    def ask(self) -> Pass:
        """May the next operation go? `PROBE` is said once a second and means: try, but keep nobody waiting."""
        if self._failures < OPENS_AFTER:
            return Pass.GO
        with self._lock:
            if self._clock.elapsed() < self._next_probe:
                return Pass.STOP
            self._next_probe = self._clock.elapsed() + PROBE_EVERY_SECONDS
            return Pass.PROBE

    def succeeded(self) -> None:
        if self._failures:
            with self._lock:
                self._failures = 0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures == OPENS_AFTER:
                self._next_probe = self._clock.elapsed() + PROBE_EVERY_SECONDS

"""
How long something took, less the time for which the machine did not let this process run.

    with Stopwatch() as watch:
        rig.call(event)
    assert watch.seconds < 2.0

Our bounds in seconds say how long the product waits. On a machine that is busy, or was suspended, wall time says that and
how long the process stood still; a thread that does nothing but tick notices the latter. For upper bounds only: who asks
that something took at least so long is served by wall time.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

TICK_SECONDS = 0.02


class Stopwatch:
    """
    Runs for as long as its `with` block.

    Attributes:
        seconds: what the block took, or has taken so far.
    """

    def __init__(self) -> None:
        self._began = self._ended = self._stood_still = 0.0
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="stopwatch", daemon=True)

    @property
    def seconds(self) -> float:
        return max(0.0, (self._ended or time.monotonic()) - self._began - self._stood_still)

    def _tick(self) -> None:
        before, over = time.monotonic(), False
        while not over:
            over = self._over.wait(TICK_SECONDS)
            now = time.monotonic()
            late = now - before - TICK_SECONDS
            if late > TICK_SECONDS:
                self._stood_still += late
            before = now

    def __enter__(self) -> Self:
        self._ticker.start()
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = time.monotonic()
        self._over.set()
        self._ticker.join()

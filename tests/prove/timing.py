"""
How long things take: measured and recorded, and judged against the target in the table only.

A test fails where a figure is off by a multiple (`GROSSLY`), which no busy machine explains.
"""

from __future__ import annotations

import gc
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

GROSSLY = 5


class _LambdaOutput(io.TextIOBase):
    """Standard output as Lambda's runtime client gives it to a handler: every line goes out at once."""

    def __init__(self) -> None:
        self._sink = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed by `close`

    def write(self, text: str) -> int:
        written = self._sink.write(text)
        self._sink.flush()
        return written

    def close(self) -> None:
        self._sink.close()


@contextmanager
def receipts_go_out() -> Iterator[None]:
    """Receipts are written, for that takes time, and not read."""
    kept, sys.stdout = sys.stdout, _LambdaOutput()
    try:
        yield
    finally:
        sys.stdout.close()
        sys.stdout = kept


@dataclass(frozen=True, slots=True)
class Times:
    """
    Attributes:
        seconds: of each call, sorted.
        cpu_ms: of all threads of this process, on average per call: what others on the machine do not add to.
    """

    seconds: Sequence[float]
    cpu_ms: float

    @classmethod
    def of(cls, step: Callable[[int], object], repeat: int) -> Times:
        """So many calls of `step`, which is told its number; one more before them warms up."""
        taken = []
        with receipts_go_out():
            step(-1)
            gc.collect()
            began = time.process_time()
            for number in range(repeat):
                started = time.perf_counter()
                step(number)
                taken.append(time.perf_counter() - started)
            cpu = time.process_time() - began
        return cls(sorted(taken), cpu * 1000 / repeat)

    def ms(self, share: float) -> float:
        """The time, in milliseconds, that this share of the calls did not pass."""
        return self.seconds[min(len(self.seconds) - 1, int(len(self.seconds) * share))] * 1000

    @property
    def per_second(self) -> float:
        return len(self.seconds) / sum(self.seconds)

    def __str__(self) -> str:
        return f"p50 {self.ms(0.5):.2f} ms, p99 {self.ms(0.99):.2f} ms"

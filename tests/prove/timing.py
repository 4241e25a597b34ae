"""
How long things take: measured and recorded, and judged against the target in the table only.

A test fails where a figure is off by a multiple (`GROSSLY`), which no busy machine explains.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.output import receipts_go_out

GROSSLY = 5


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

"""How far the replays are, on standard error: a bar on a terminal, else a line each ten seconds."""

from __future__ import annotations

import sys
import time

from hookcache_ops.output import block, living_line

WIDTH = 24


class ReplayProgress:
    """
    Args:
        whole: how many requests will be replayed in all.
    """

    def __init__(self, whole: int) -> None:
        self._whole = max(1, whole)
        self._done = 0
        self._begun = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._drawn = False

    def on(self, name: str, done: int) -> None:
        """`done` more requests were replayed, under the scenario `name`."""
        self._done += done
        now = time.monotonic()
        if now - self._shown < (0.2 if self._terminal else 10):
            return
        self._shown = now
        share = min(1.0, self._done / self._whole)
        left = (now - self._begun) * (1 - share) / max(share, 1e-9)
        full = block(sys.stderr)
        bar = (full * round(WIDTH * share)).ljust(WIDTH, "░" if full == "█" else ".")
        text = f"hookcache simulate: {bar} {share:4.0%}, {left:,.0f} s left, {name}"
        self._drawn = True
        if self._terminal:
            living_line(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._drawn:
            living_line()

"""Waiting for what processes, sockets and other threads do in their own time."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], within_seconds: float = 60.0) -> bool:
    """Whether `condition` comes true in time."""
    end = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True

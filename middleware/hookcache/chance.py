"""Random numbers, for pauses and samples, without `random` where none is drawn: it takes 0.2 MB of a cold start."""

from __future__ import annotations

import os

_DIGITS = 53
"""What a float between 0 and 1 holds."""


def drawn() -> float:
    """
    From 0 on, below 1, of the system's own, as `random.SystemRandom` draws it.

    Environments restored from one snapshot (SnapStart) share the state of Python's, and would all check the same hits.
    """
    return (int.from_bytes(os.urandom(7), "big") >> (56 - _DIGITS)) / (1 << _DIGITS)


def between(least: float, most: float) -> float:
    """Somewhere from `least` to `most`, of Python's own, whose seed repeats a schedule (docs/decisions.md)."""
    import random  # whoever waits is no hit

    return random.uniform(least, most)

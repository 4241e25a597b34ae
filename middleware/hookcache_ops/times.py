"""Times as a person types them (`2026-11-01`, `2026-11-01T08:00Z`, `7d` ago) and reads them: UTC, unless they carry an offset."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

_AGO = re.compile(r"(\d{1,5})([smhdw])")
SECONDS_BELOW = 1e11  # an epoch in seconds is smaller, in milliseconds larger, for all times of the cloud
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def now_ms() -> int:
    """The wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def moment_ms(text: str, at_ms: int) -> int:
    """
    Epoch milliseconds of an ISO 8601 time, or of `2h` before `at_ms`; what lies before the epoch is the epoch.

    Raises:
        ValueError: it is neither.
    """
    ago = _AGO.fullmatch(text)
    return max(0, told_ms(text) if ago is None else at_ms - int(ago[1]) * _SECONDS[ago[2]] * 1000)


def told_ms(told: Any) -> int:
    """
    Epoch milliseconds of a time as files have it: ISO 8601, or an epoch in s or ms.

    Raises:
        ValueError, TypeError, OverflowError: it is none.
    """
    if isinstance(told, int | float) and not isinstance(told, bool):
        return round(told * 1000 if told < SECONDS_BELOW else told)
    moment = datetime.fromisoformat(told)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def spelt(time_ms: int, timespec: str = "seconds") -> str:
    """`2026-11-01T08:00:00Z`; `timespec` as in `datetime.isoformat`."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")

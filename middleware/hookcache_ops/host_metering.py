"""
What the host writes down about a hook: usage per metering key, and its own metrics.

Older hosts record under the string they were configured with and keep whatever `usage` holds; newer ones record under
the bare function name and keep numbers only. Which release changed which is not known, so each is chosen by itself.
Source: the host's behaviour, "What the host records", "CloudWatch conventions".
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

SERVICE = "lambda_hook"


class MeteringForm(Enum):
    """How the host spells the function in its metering key."""

    CONFIGURED = "as configured"
    BARE = "bare name"


def metering_key(context: str, function: str, form: MeteringForm) -> str:
    """`{context}/lambda_hook/{function}`, the function as configured or without ARN, alias and version."""
    if form is MeteringForm.CONFIGURED:
        return f"{context}/{SERVICE}/{function}"
    name = function.rpartition(":function:")[2]
    return f"{context}/{SERVICE}/{name.partition(':')[0]}"


def recorded_usage(usage: Any, numbers_only: bool) -> dict[str, Any]:
    """
    What is kept of an answer's `usage`, with the host's own `requests`, which is 1 for a hit as well.

    Raises:
        TypeError, AttributeError: `usage` is neither falsy nor an object; the host's client then retries.
    """
    kept = dict(**usage) if usage else {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
    if numbers_only:
        kept = {
            unit: value
            for unit, value in kept.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
    return {**kept, "requests": 1}


@dataclass(slots=True)
class HostMetrics:
    """
    The host's CloudWatch metrics for hooks, without dimensions. Safe for threads.

    Counts: LambdaHookRequestsTotal (once per logical call), LambdaHookRequestsSucceeded, LambdaHookRequestsFailed
    (counts a failure more than once, see `host.py`), LambdaHookThrottles. Milliseconds: LambdaHookRequestLatency (of
    the last attempt), LambdaHookTotalLatency (of the logical call, sleeps included).
    """

    counts: Counter[str] = field(default_factory=Counter)
    values_ms: dict[str, list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str) -> None:
        with self._lock:
            self.counts[name] += 1

    def record_ms(self, name: str, milliseconds: float) -> None:
        with self._lock:
            self.values_ms.setdefault(name, []).append(milliseconds)

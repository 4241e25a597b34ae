"""
The receipt: one record per invocation that says how it ended, what it spent and what it saved (P31-P35, P55-P57).

Written as one line of CloudWatch embedded metric format, as Powertools would (`emf.py`); the same line is the access log that
`hookcache` commands read. Its members are listed in dashboards/README.md.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hookcache.clock import Clock
from hookcache.emf import EmfShape, is_disabled
from hookcache.errors import (
    BackendFailed,
    BackendMalformed,
    BackendThrottled,
    DeadlineTooClose,
    FollowerTimedOut,
    LoopDetected,
)
from hookcache.outcome import Outcome, Reason
from hookcache.prices import Prices
from hookcache.spending import Spending
from hookcache.usage import shown_units

RECEIPT_SCHEMA = 1
MOST = 1e100  # no cost is written larger: CloudWatch refuses a value past 2**360, and JSON has no infinity
TYPICAL_LINE_BYTES = 2_600  # a receipt counts the log bytes of the one before it, the first of an environment this many
DEFAULT_NAMESPACE, DEFAULT_SERVICE = "GenAIIDP/HookCache", "hookcache"

_COUNT, _MILLISECONDS, _NONE = "Count", "Milliseconds", "None"
_COUNTED_AS = {
    Outcome.HIT_MEMORY: "MemoryHits",
    Outcome.HIT_TABLE: "TableHits",
    Outcome.COLLAPSED: "Collapsed",
    Outcome.MISS: "Misses",
    Outcome.STALE: "Misses",
    Outcome.REFRESH: "Misses",
    Outcome.OBSERVE: "Misses",
    Outcome.BYPASS: "Bypasses",
    Outcome.FAILED: "Failures",
}
_UNIT_METRICS = {"InputTokens": "inputTokens", "OutputTokens": "outputTokens", "Pages": "pages"}


@dataclass(slots=True)
class Receipt:
    """
    What is known of one invocation while it runs; closed and written when it ends.

    `units_spent` are the backend's units of the call made here, `units_saved` those of the answer served instead of one,
    `units_charged` those that such an answer returned to the host all the same, where the operator chose that (P32);
    `saved_cost` and `cost` map units to currency, `unpriced` counts the units without a price. Times are milliseconds.
    """

    context: str
    function: str
    request_id: str
    mode: str = ""
    outcome: Outcome = Outcome.FAILED
    reason: Reason | None = None
    refusal: Reason | None = None
    error_type: str = ""
    key_id: str = ""
    age_seconds: float | None = None
    entry_bytes: int = 0
    backend_version: str = ""
    images: int = 0
    image_bytes: int = 0
    units_spent: Mapping[str, float] = field(default_factory=dict)
    units_saved: Mapping[str, float] = field(default_factory=dict)
    units_charged: Mapping[str, float] = field(default_factory=dict)
    cost: Decimal = Decimal(0)
    saved_cost: Decimal = Decimal(0)
    own_cost: Decimal = Decimal(0)
    unpriced: Mapping[str, float] = field(default_factory=dict)
    own_units: dict[str, float] = field(default_factory=dict)
    components: Mapping[str, Any] | None = None
    would_hit: bool | None = None
    agrees: bool | None = None
    check: Mapping[str, Any] | None = None
    cold_start: bool = False
    total_ms: float = 0.0
    backend_ms: float = 0.0
    asked_backend: bool = False
    replay: bool = False
    table_errors: int = 0
    image_errors: int = 0
    lease_lost: int = 0
    corrupt_entries: int = 0
    usage_removed: int = 0
    control_ignored: int = 0

    def end(self, outcome: Outcome, reason: Reason | None = None) -> None:
        """How this invocation ended; the last word counts, an exception has the very last one."""
        self.outcome, self.reason = outcome, reason

    def failed(self, error: BaseException) -> None:
        self.outcome, self.reason, self.error_type = Outcome.FAILED, _reason_of(error), type(error).__name__
        self.units_saved, self.units_charged, self.saved_cost = {}, {}, Decimal(0)


def _reason_of(error: BaseException) -> Reason:
    match error:
        case BackendFailed(shared=True):
            return Reason.SHARED_FAILURE
        case BackendFailed(timed_out=True):
            return Reason.BACKEND_TIMEOUT
        case BackendThrottled():
            return Reason.BACKEND_THROTTLED
        case BackendMalformed():
            return Reason.BACKEND_MALFORMED
        case FollowerTimedOut():
            return Reason.FOLLOWER_TIMED_OUT
        case DeadlineTooClose():
            return Reason.DEADLINE
        case LoopDetected():
            return Reason.LOOP
        case _:
            return Reason.BACKEND_FAILED


class Meter:
    """
    Opens a receipt for each invocation and writes it when that ends, whatever happened.

    Namespace and service come from Powertools' own environment variables. Lines go to `write`, standard output if not given.
    """

    def __init__(
        self,
        clock: Clock,
        spending: Spending,
        prices: Prices,
        environ: Mapping[str, str] = os.environ,
        write: Callable[[str], object] | None = None,
    ) -> None:
        self._write = write or _to_stdout
        self._clock = clock
        self._spending = spending
        self._prices = prices
        self._namespace = environ.get("POWERTOOLS_METRICS_NAMESPACE") or DEFAULT_NAMESPACE
        self._shape = EmfShape(self._namespace, ("MeteringKey", "Service"))
        self._service = environ.get("POWERTOOLS_SERVICE_NAME") or DEFAULT_SERVICE
        self._own_name = environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self._memory_gb = _memory_mb(environ) / 1024
        self._cold = True
        self._line_bytes = TYPICAL_LINE_BYTES
        self._lock = threading.Lock()

    @contextmanager
    def invocation(self, step: str, context: Any) -> Iterator[Receipt]:
        """
        The receipt of one invocation of `step` (the host's context word).

        Promises: P31 (one receipt, whatever happened), P34 (a metering failure never touches the answer).
        """
        started = self._clock.elapsed()
        request_id = getattr(context, "aws_request_id", None)
        receipt = Receipt(
            context=step,
            function=function_name(context, self._own_name),
            request_id=str(request_id) if request_id else os.urandom(16).hex(),
            cold_start=self._cold,
        )
        self._cold = False
        try:
            yield receipt
        except BaseException as error:
            receipt.failed(error)
            raise
        finally:
            try:
                receipt.total_ms = (self._clock.elapsed() - started) * 1000
                self._close(receipt)
            except Exception as trouble:  # P34: nothing here may reach the caller
                _last_word(trouble)

    def _close(self, receipt: Receipt) -> None:
        receipt.own_units = self._spending.take() | {
            "lambda_requests": 1,
            "lambda_gb_seconds": self._memory_gb * receipt.total_ms / 1000,
            "log_bytes": self._line_bytes,
        }
        receipt.own_cost = self._prices.own(receipt.own_units)
        if is_disabled():
            return
        line = self.record(receipt) + "\n"
        self._line_bytes = len(line)
        with self._lock:
            self._write(line)

    def record(self, receipt: Receipt) -> str:
        """The receipt as an EMF record: two dimension sets of one dimension each, every other fact a plain member (P35)."""
        dimensions = {"MeteringKey": f"{receipt.context}/lambda_hook/{receipt.function}", "Service": self._service}
        return self._shape.line(self._clock.now_ms(), dimensions, _members(receipt), _metrics(receipt))


def _metrics(receipt: Receipt) -> Iterator[tuple[str, str, float]]:
    """Name, unit and value of each metric. Health metrics only where they count something."""
    yield "Requests", _COUNT, 1
    for name in dict.fromkeys(_COUNTED_AS.values()):
        yield name, _COUNT, int(name == _COUNTED_AS[receipt.outcome])
    for name, unit in _UNIT_METRICS.items():
        yield name, _COUNT, receipt.units_spent.get(unit, 0)
        yield f"Saved{name}", _COUNT, receipt.units_saved.get(unit, 0)
    yield "Cost", _NONE, min(float(receipt.cost), MOST)
    yield "SavedCost", _NONE, min(float(receipt.saved_cost), MOST)
    yield "OwnCost", _NONE, float(receipt.own_cost)
    yield "Latency", _MILLISECONDS, receipt.total_ms
    if receipt.asked_backend:  # a 0 for every hit would make its averages and percentiles say nothing
        yield "BackendLatency", _MILLISECONDS, receipt.backend_ms
    yield "LookupLatency", _MILLISECONDS, max(0.0, receipt.total_ms - receipt.backend_ms)
    health = {
        "TableErrors": receipt.table_errors,
        "ImageErrors": receipt.image_errors,
        "Refusals": int(receipt.refusal is not None),
        "LeaseLost": receipt.lease_lost,
        "CorruptEntries": receipt.corrupt_entries,
        "Unpriced": int(bool(receipt.unpriced)),
    }
    yield from ((name, _COUNT, value) for name, value in health.items() if value)


def _members(receipt: Receipt) -> dict[str, Any]:
    members = {
        "schema": RECEIPT_SCHEMA,
        "outcome": receipt.outcome.value,
        "reason": receipt.reason.value if receipt.reason else "",
        "refusal": receipt.refusal.value if receipt.refusal else "",
        "error_type": receipt.error_type,
        "context": receipt.context,
        "function": receipt.function,
        "request_id": receipt.request_id,
        "mode": receipt.mode,
        "key_id": receipt.key_id,
        "age_seconds": receipt.age_seconds,
        "entry_bytes": receipt.entry_bytes,
        "backend_version": receipt.backend_version,
        "images": receipt.images,
        "image_bytes": receipt.image_bytes,
        "units_spent": shown_units(receipt.units_spent),
        "units_saved": shown_units(receipt.units_saved),
        "unpriced_units": shown_units(receipt.unpriced),
        "own_units": receipt.own_units,
        "cold_start": receipt.cold_start,
    }
    rare = {
        "components": receipt.components,
        "replay": receipt.replay or None,
        "would_hit": receipt.would_hit,
        "agrees": receipt.agrees,
        "check": receipt.check,
        "units_charged": shown_units(receipt.units_charged) or None,
        "usage_removed": receipt.usage_removed or None,
        "control_ignored": receipt.control_ignored or None,
    }
    return members | {name: value for name, value in rare.items() if value is not None}


_FUNCTION_ARN = re.compile(r"arn:[^:]+:lambda:[^:]*:[^:]*:function:([^:]+)")


def function_name(context: Any, otherwise: str = "") -> str:
    """
    The bare name under which this function is metered: no account, alias or version, whatever form it was called by (S55).

    Source: the host's metering key since it names functions alone; AWS Lambda Developer Guide, "Python context object".
    """
    for told in (getattr(context, "invoked_function_arn", None), getattr(context, "function_name", None), otherwise):
        if isinstance(told, str) and told:
            arn = _FUNCTION_ARN.match(told)
            return arn[1] if arn else told.split(":")[0]
    return "unknown"


def _memory_mb(environ: Mapping[str, str]) -> float:
    told = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    return float(told) if told.isdigit() else 0.0


def _to_stdout(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def _last_word(trouble: Exception) -> None:
    try:
        sys.stderr.write(f"hookcache: a receipt was lost: {type(trouble).__name__}\n")
    except (OSError, ValueError):
        return  # stderr is gone as well; the answer still goes out

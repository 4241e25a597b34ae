"""The receipt: how one invocation ended, what it spent and what it saved (P31-P35, P55-P57)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from hookcache.errors import (
    BackendFailed,
    BackendMalformed,
    BackendThrottled,
    DeadlineTooClose,
    FollowerTimedOut,
    LoopDetected,
)
from hookcache.hints import Any
from hookcache.outcome import Outcome, Reason


class Receipt:
    """
    What is known of one invocation while it runs; closed and written when it ends.

    `units_spent` are the backend's units of the call made here, `units_saved` those of the answer served instead of one,
    `units_charged` those that such an answer returned to the host all the same, where the operator chose that (P32);
    `saved_cost` and `cost` are in the currency of the prices, `unpriced` counts the units without one. Times are milliseconds,
    but for `began`, in seconds of the clock's elapsed time.
    `environment` is a random word for the execution environment: requests with one word shared one memory tier.

    No dataclass: one is made per invocation, and what nothing happened to is the class's own, which cannot change.
    """

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
    units_spent: Mapping[str, float] = MappingProxyType({})
    units_saved: Mapping[str, float] = MappingProxyType({})
    units_charged: Mapping[str, float] = MappingProxyType({})
    cost: Decimal = Decimal(0)
    saved_cost: Decimal = Decimal(0)
    own_cost: float = 0.0
    unpriced: Mapping[str, float] = MappingProxyType({})
    own_units: Mapping[str, float] = MappingProxyType({})
    components: Mapping[str, Any] | None = None
    would_hit: bool | None = None
    agrees: bool | None = None
    check: Mapping[str, Any] | None = None
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
    environment: str = ""
    began: float = 0.0

    def __init__(self, context: str, function: str, request_id: str, *, cold_start: bool = False) -> None:
        self.context = context
        self.function = function
        self.request_id = request_id
        self.cold_start = cold_start

    def end(self, outcome: Outcome, reason: Reason | None = None) -> None:
        """How this invocation ended; the last word counts, an exception has the very last one."""
        self.outcome, self.reason = outcome, reason

    def earn_nothing(self) -> None:
        """No credit for the stored answer (P57)."""
        self.units_saved, self.saved_cost, self.unpriced = {}, Decimal(0), {}

    def withdraw(self, trouble: Exception) -> None:
        """The stored answer is not served after all, for `trouble` with it."""
        self.earn_nothing()
        self.error_type, self.units_charged, self.check = type(trouble).__name__, {}, None
        self.age_seconds, self.entry_bytes = None, 0

    def failed(self, error: BaseException) -> None:
        """The invocation ends by `error`: nothing was saved or charged (P57)."""
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

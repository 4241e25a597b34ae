"""
Everything that can go wrong, as one tree that answers "may the host retry?" and "whose fault is it?".

    HookCacheError                leaves us?                       retry?         fault
    ├── ConfigurationError        at cold start only               no             operator
    │   └── LoopDetected          yes: the chain leads back here   no             operator
    ├── Unkeyable                 no: becomes a bypass             -              request
    ├── TierUnavailable           no: becomes a miss or a bypass   -              table
    ├── EntryRejected             no: a miss, and an alarm         -              writer of the entry
    ├── FlightError
    │   ├── FollowerTimedOut      yes                              yes            slow leader
    │   └── DeadlineTooClose      yes                              yes            time limits, so operator
    └── BackendError
        ├── BackendThrottled      yes                              yes            backend
        ├── BackendFailed         yes, with the backend's type     backend says   backend
        └── BackendMalformed      yes; never kept as an answer     yes            backend

The host retries whatever is raised and does not read the type, so `retryable` informs operator and receipt only.
Messages carry sizes and reasons: no prompt, answer, URI or key (P36).
"""

from __future__ import annotations

import re

from hookcache.hints import ClassVar, Literal
from hookcache.outcome import Reason

Fault = Literal["operator", "request", "table", "writer", "leader", "backend"]


class HookCacheError(Exception):
    """Base of everything that hookcache raises on purpose."""

    retryable: ClassVar[bool] = False
    fault: ClassVar[Fault] = "operator"
    answer_begun: bool = False
    """Part of a streamed answer is with the caller already: no other answer may follow it."""


class ConfigurationError(HookCacheError):
    """A setting is missing, malformed or contradicts another; the message names it and the remedy."""


class LoopDetected(ConfigurationError):
    """This invocation passed through this very function before: the backend leads back to us."""


class Unkeyable(HookCacheError):
    """No key may be made of this request; it goes to the backend uncached."""

    fault = "request"

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class TierUnavailable(HookCacheError):
    """The table or bucket gave no usable reply in time."""

    fault = "table"

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class EntryRejected(HookCacheError):
    """A stored entry is not what its writer sealed, or is of another schema."""

    fault = "writer"

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class FlightError(HookCacheError):
    """This caller's own time ran out while somebody fetched."""

    retryable = True


class FollowerTimedOut(FlightError):
    """The leader had not finished when this follower's wait was over."""

    fault = "leader"


class DeadlineTooClose(FlightError):
    """Too little of this invocation's time is left to call the backend."""


class BackendError(HookCacheError):
    """The backend gave no answer."""

    retryable = True
    fault = "backend"


class BackendThrottled(BackendError):
    """Lambda refused the invocation for lack of concurrency or of machines, twice."""


class BackendMalformed(BackendError):
    """The backend's reply is not JSON."""


class BackendFailed(BackendError):
    """The backend raised, timed out or could not be invoked; carries the backend's own type as `error_type`."""

    def __init__(
        self, message: str, error_type: str = "BackendFailed", *, timed_out: bool = False, shared: bool = False
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.timed_out = timed_out
        self.shared = shared


NOTED_TYPE = r"[A-Za-z_][A-Za-z0-9_.]{0,63}"
"""An error type that a lease's note holds, and that `negative_errors` can therefore list; any other is noted as `BackendFailed`."""
_TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,127}")


def backend_failed(message: str, error_type: str, *, timed_out: bool = False, shared: bool = False) -> BackendFailed:
    """
    A `BackendFailed` whose class bears the backend's own type name; `shared` if another's call failed, not ours.

    The Lambda runtime reports `type(error).__name__` as `errorType`, so the host reads the same type and message as it
    would have without us (F20). A type that is no plain name is reported as `BackendFailed`.
    """
    if not _TYPE_NAME.fullmatch(error_type):
        return BackendFailed(message, timed_out=timed_out, shared=shared)
    own_type: type[BackendFailed] = type(error_type, (BackendFailed,), {"__doc__": BackendFailed.__doc__})
    return own_type(message, error_type, timed_out=timed_out, shared=shared)


def shared_failure(error_type: str) -> BackendFailed:
    """The backend's error of this type, met by the leader that a request waited for (P17)."""
    return backend_failed("the fetch that this request waited for failed at the backend", error_type, shared=True)


def type_of(error: Exception) -> str:
    """The type that the host reads of it. What a handler's own error has under such a name is not asked: it may raise."""
    return error.error_type if isinstance(error, BackendFailed) else type(error).__name__


def without_words(error: Exception) -> Exception:
    """A backend's error with its type and without its text, for operators who want no content in what we raise (P36)."""
    if isinstance(error, HookCacheError) and not isinstance(error, BackendFailed):
        return error
    told = backend_failed("the backend failed", type_of(error))
    if isinstance(error, BackendFailed):  # else a handler's own, of this process
        told.timed_out, told.shared, told.answer_begun = error.timed_out, error.shared, error.answer_begun
    return told

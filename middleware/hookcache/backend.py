"""
The backend: the hook that answers. One invocation, one SDK attempt, its errors handed on as its own (P17, P22).

Anything with `invoke(event, context, deadline) -> Answer` is a backend; `CallableBackend` makes one of any handler.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

from hookcache import percall
from hookcache.bounded import NotInTime, within
from hookcache.chance import between
from hookcache.clock import MARGIN_SECONDS, Clock, Deadline, SystemClock
from hookcache.errors import BackendFailed, BackendMalformed, BackendThrottled, DeadlineTooClose, backend_failed
from hookcache.hints import Any, Protocol
from hookcache.request import copied
from hookcache.runtime_json import spelt, written
from hookcache.spending import Spending
from hookcache.value import value

READ_LIMIT_SECONDS = 900.0
SLACK_SECONDS = 5.0
"""How much longer than the backend's own timeout we listen, so that its timeout reaches us as its error."""
THROTTLED_PAUSE_SECONDS = 0.5
OVERRUN_SECONDS = 0.2
"""How much longer than the socket's own read timeout we wait, so that it speaks first where it speaks at all."""
IDLE_SECONDS = 60.0
"""After this long unused, by wall clock, a connection is not trusted: the environment may have been frozen (F32)."""
_THROTTLES: Mapping[str, str] = MappingProxyType(
    {
        "TooManyRequestsException": "its concurrency is used up",
        "EC2ThrottledException": "Amazon EC2 throttled its start",
    }
)
"""
What says that the backend did not run, and might in a moment. Source: AWS Lambda API Reference, "Invoke", "Errors"; the host
retries both, and others that may come after the function ran.
"""
_TIMED_OUT = re.compile(r"Task timed out after \d")


@value
class Answer:
    """A reply: `body` as received, `response` parsed from it, `version` of the backend that ran, where it says so."""

    body: bytes
    response: Any
    version: str | None = None


class Backend(Protocol):
    """Where answers come from."""

    def invoke(self, event: Any, context: Any, deadline: Deadline) -> Answer:
        """
        Ask once.

        Raises:
            BackendError: it gave no answer.
            DeadlineTooClose: no time is left to ask it.
            Exception: a callable in this process raises what it raises.
        """


class CallableBackend:
    """A handler in this process as a backend: `handler(event, context) -> response`."""

    def __init__(self, handler: Callable[[Any, Any], Any]) -> None:
        self._handler = handler

    def invoke(self, event: Any, context: Any, deadline: Deadline) -> Answer:  # noqa: ARG002 - its own time is its own
        response = self._handler(_own(event), context)
        try:
            body = response if isinstance(response, bytes) else written(response)  # the runtime posts bytes as they are
            told = json.loads(body)
        except Exception:  # whatever it is: what no JSON can hold is the caller's, and never kept
            return Answer(b"", response)
        if isinstance(response, bytes) and not isinstance(told, dict):
            return Answer(b"", response)
        return Answer(body, told)


def _own(event: Any) -> Any:
    """
    A handler's own event: what it does to the one it gets changes nothing that admission or a second call looks at (P5).

    One that cannot be copied (nested too deep, or changed by its owner under our hands) was bypassed, and goes as it is.
    """
    try:
        return copied(event)
    except Exception:  # P18: whatever it is, no copy is not the caller's trouble
        return event


class LambdaBackend:
    """
    Another Lambda function as a backend.

    Args:
        clients: gives a boto3 Lambda client whose read timeout is the given seconds; one SDK attempt.
        function: name, partial or full ARN, optionally with a qualifier.
        timeout_seconds: the function's own timeout as last known, None if unknown.
        mark: what this wrapper writes into the client context, to know its own calls again (F40).
    """

    def __init__(
        self,
        clients: Callable[[float], Any],
        function: str,
        timeout_seconds: Callable[[], float | None],
        mark: str,
        clock: Clock,
        spending: Spending,
    ) -> None:
        self._clients = clients
        self._function = function
        self._timeout_seconds = timeout_seconds
        self._mark = mark
        self._clock = clock
        self._spending = spending

    def invoke(self, event: Any, context: Any, deadline: Deadline) -> Answer:
        payload = spelt(event)
        client_context = percall.onward(context, self._mark)
        try:
            reply = self._ask(payload, client_context, deadline)
        except BackendThrottled:
            pause = between(THROTTLED_PAUSE_SECONDS / 2, THROTTLED_PAUSE_SECONDS)
            if deadline.usable_seconds() < pause + MARGIN_SECONDS:
                raise
            self._clock.sleep(pause)
            reply = self._ask(payload, client_context, deadline)
        return _answer(reply)

    def _ask(self, payload: bytes, client_context: str, deadline: Deadline) -> dict[str, Any]:
        # Loaded by the first miss, with boto3 itself: no hit pays for either.
        from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError
        from urllib3.exceptions import HTTPError

        read_seconds = self._read_seconds(deadline)

        def ask() -> dict[str, Any]:
            reply: dict[str, Any] = self._clients(read_seconds).invoke(
                FunctionName=self._function, Payload=payload, ClientContext=client_context
            )
            return reply | {"Payload": reply["Payload"].read()}

        try:
            return within(read_seconds + OVERRUN_SECONDS, ask, "hookcache-backend")
        except (ReadTimeoutError, NotInTime):
            if deadline.usable_seconds() <= 1:
                raise DeadlineTooClose("the backend has not answered and this invocation's time is over") from None
            raise backend_failed(f"no reply within {read_seconds:g} s", "ReadTimeout", timed_out=True) from None
        except ClientError as error:
            raise _refused(error) from None
        except (BotoCoreError, HTTPError, OSError) as error:
            raise backend_failed(
                f"the backend cannot be invoked: {type(error).__name__}", type(error).__name__
            ) from None

    def _read_seconds(self, deadline: Deadline) -> float:
        """How long to listen, in whole seconds rounded down where that leaves some: few distinct clients are made."""
        usable = deadline.usable_seconds()
        own = self._timeout_seconds()
        seconds = min(usable, READ_LIMIT_SECONDS if own is None else own + SLACK_SECONDS)
        if seconds <= 0.05:
            raise DeadlineTooClose("too little of this invocation's time is left to ask the backend")
        return math.floor(seconds) if seconds >= 5 else math.floor(seconds * 20) / 20


def _refused(error: Any) -> BackendFailed | BackendThrottled:
    code = error.response.get("Error", {}).get("Code", "ClientError")
    message = error.response.get("Error", {}).get("Message", "")
    if code in _THROTTLES:
        return BackendThrottled(f"Lambda refused the backend's invocation: {_THROTTLES[code]}")
    return backend_failed(f"{code}: {message}", code)


def _answer(reply: dict[str, Any]) -> Answer:
    body: bytes = reply["Payload"]
    if reply.get("FunctionError"):
        raise _failed(body)
    if reply.get("StatusCode", 200) != 200:
        raise BackendMalformed(f"the invocation ended with status {reply.get('StatusCode')}")
    try:
        response = json.loads(body)
    except (ValueError, RecursionError):
        raise BackendMalformed(f"the backend's reply of {len(body)} bytes is not JSON") from None
    return Answer(body, response, reply.get("ExecutedVersion"))


def _failed(body: bytes) -> BackendFailed:
    """The backend's own error, type and message, from the payload of a FunctionError (F20, F21)."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        error = None
    error = error if isinstance(error, dict) else {}
    message, error_type = str(error.get("errorMessage", "the backend failed")), error.get("errorType")
    timed_out = _TIMED_OUT.search(message) is not None
    if not isinstance(error_type, str):
        error_type = "Sandbox.Timedout" if timed_out else "BackendFailed"
    return backend_failed(message, error_type, timed_out=timed_out)


class ClientPool:
    """
    Lambda clients by read timeout, made when first needed: at most `KEPT`, the one unused for longest dropped.

    An invoke is never repeated by the SDK (P22), so a connection that died while the environment was frozen would fail a
    request: a client that was idle closes its connections first.
    """

    KEPT = 8

    def __init__(self, make: Callable[[float], Any], clock: Clock | None = None) -> None:
        self._make = make
        self._clock = clock if clock is not None else SystemClock()
        self._lock = threading.Lock()
        self._clients: dict[float, tuple[Any, int]] = {}

    def __call__(self, read_seconds: float) -> Any:
        with self._lock:
            now = self._clock.now_ms()
            client, used_ms = self._clients.pop(read_seconds, (None, now))
            if client is None:
                if len(self._clients) >= self.KEPT:
                    oldest, _ = self._clients.pop(next(iter(self._clients)))
                    oldest.close()
                client = self._make(read_seconds)
            elif not 0 <= now - used_ms < IDLE_SECONDS * 1000:
                client.close()  # its idle connections only; it opens new ones by itself
            self._clients[read_seconds] = (client, now)
            return client

"""
A service over HTTPS: one JSON answer per call, retries with jitter inside the deadline, errors of our own types.

What is asked again: 408, 429, 500, 502, 503, a connection that failed before an answer, and a look (GET) that was not answered
in time (504 of a gateway too) or not to its end. What is not: other refusals and failures, and a request for work (POST) that was
sent and not answered within `request_seconds` or a gateway's patience, or whose good answer broke off: the service may have done
the work, and would be paid twice.
"""

import json
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import urllib3
from backend_errors import (
    BackendError,
    BadAnswerError,
    OutOfTimeError,
    ServiceFailedError,
    ServiceRefusedError,
    ServiceThrottledError,
)
from backend_settings import number, whole
from deadline import Deadline, within
from idle import Idle

logger = logging.getLogger(__name__)

AGAIN = frozenset({408, 429, 500, 502, 503})
GATEWAY_TIMEOUT = 504  # the gateway's patience is over; the service behind it may still be at work
ANSWER_BYTES = 32 << 20  # more than Lambda could hand on many times over; a bound for our memory
LONGEST_PAUSE_SECONDS = 30.0  # of our own choice; a service that names its own time is waited for as long as there is
CONNECT_SECONDS = 10.0
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is repeated, and the first pause in seconds; each further one may be twice as long."""

    times: int = 4
    base_seconds: float = 1.0
    draw: Callable[[], float] = random.random

    def pause(self, number: int, retry_after: float) -> float:
        """
        Seconds to wait before retry `number`, from 1 on: at least what the service asks for.

        The jitter is half of the pause, so that callers who failed together do not come back together.
        """
        longest = min(LONGEST_PAUSE_SECONDS, self.base_seconds * 2 ** (number - 1))
        return retry_after + longest * (0.5 + self.draw() / 2)


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers and body as they came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _AskAgain(Exception):
    """Another try may help: `error` where there is none, seconds that the service asks for."""

    def __init__(self, error: BackendError, retry_after: float = 0.0) -> None:
        self.error, self.retry_after = error, retry_after


class _BrokeOff(Exception):
    """A good answer to a request for work ended before its end: the work was done."""


@dataclass(slots=True)
class Service:
    """
    The service behind `name`, which error messages use.

    Args:
        request_seconds: longest wait for one reply.
        now: wall clock in epoch seconds, for a `Retry-After` that names a date, and for connections that were idle.
    """

    name: str
    request_seconds: float
    retries: Retries
    now: Callable[[], float]
    pool: Any = field(default_factory=urllib3.PoolManager)
    idle: Idle = field(init=False)

    def __post_init__(self) -> None:
        self.idle = Idle(self.now)

    @classmethod
    def of(cls, name: str, environment: Mapping[str, str], request_seconds: float) -> "Service":
        """
        The service with the settings REQUEST_TIMEOUT (default `request_seconds`), MAX_RETRIES and RETRY_BASE_DELAY.

        Raises:
            SettingsError: one of them is wrong.
        """
        times = whole(environment, "MAX_RETRIES", 4, 0, 10)
        base_seconds = number(environment, "RETRY_BASE_DELAY", 1, 0, 30)
        seconds = number(environment, "REQUEST_TIMEOUT", request_seconds, 1, 900)
        return cls(name, seconds, Retries(times, base_seconds), time.time)

    def call(self, method: str, url: str, headers: Mapping[str, str], deadline: Deadline, **body: Any) -> Any:
        """
        Ask, again where that may help, and return the JSON of the answer.

        Args:
            body: what urllib3 takes as `body` (bytes) or as `fields` (a multipart form).

        Raises:
            ServiceRefusedError, ServiceThrottledError, ServiceFailedError, OutOfTimeError, BadAnswerError
        """
        tries = 0
        while True:
            try:
                return self._json(self._ask(method, url, headers, deadline, body))
            except _AskAgain as again:
                tries += 1
                if tries > self.retries.times:
                    raise again.error from None
                pause = self.retries.pause(tries, again.retry_after)
                logger.warning("%s; retry %d in %.1f s", again.error, tries, pause)
                try:
                    deadline.wait(pause, str(again.error))
                except OutOfTimeError as error:
                    raise type(again.error)(str(error)) from None

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], deadline: Deadline, body: Mapping[str, Any]
    ) -> Reply:
        """A good reply; raises `_AskAgain` where another try may help, else what there is to raise."""
        seconds = min(self.request_seconds, deadline.left())
        if seconds <= 0:
            raise OutOfTimeError(f"no time is left to ask {self.name}: raise the function's timeout")
        try:
            reply = within(seconds, lambda: self._send(method, url, headers, seconds, body))
        except (TimeoutError, urllib3.exceptions.ReadTimeoutError):
            late = OutOfTimeError(
                f"{self.name} did not answer within {seconds:.0f} s: raise REQUEST_TIMEOUT and the function's timeout, "
                "or ask it for less"
            )
            raise (_AskAgain(late) if method == "GET" else late) from None
        except _BrokeOff as error:
            raise ServiceFailedError(
                f"{self.name} broke off in its answer ({error}) and is not asked again here, since the work was done: "
                "check what lies between this function and it"
            ) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _AskAgain(
                ServiceFailedError(
                    f"{self.name} cannot be reached or broke off ({type(error).__name__}): "
                    "check its URL and this function's network"
                )
            ) from None
        if 200 <= reply.status < 300:
            return reply
        error = self._refusal(reply)
        again = reply.status in AGAIN or (method == "GET" and reply.status == GATEWAY_TIMEOUT)
        raise _AskAgain(error, self._retry_after(reply)) if again else error

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], seconds: float, body: Mapping[str, Any]
    ) -> Reply:
        if self.idle.too_long():
            self.pool.clear()  # it opens new connections by itself
        answer = self.pool.request(
            method,
            url,
            headers=dict(headers),
            timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds),
            redirect=False,  # the key would go along to wherever it leads
            retries=False,
            preload_content=False,
            **body,
        )
        try:
            return Reply(answer.status, answer.headers, _whole_body(answer))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if method == "POST" and 200 <= answer.status < 300:
                raise _BrokeOff(type(error).__name__) from None
            raise

    def _refusal(self, reply: Reply) -> BackendError:
        told = f"{self.name} answered {reply.status}{_code_of(reply.body)}"
        if reply.status == 429:
            return ServiceThrottledError(
                f"{told}: too many requests, ask the vendor for a higher limit or send fewer at a time"
            )
        if reply.status in AGAIN or reply.status >= 500:
            return ServiceFailedError(f"{told}: it is failing, try again later")
        if reply.status in {401, 403}:
            return ServiceRefusedError(
                f"{told}: check the key in the secret (without a secret none is sent), and what it may be used for"
            )
        if reply.status < 400:
            return ServiceRefusedError(f"{told}: it has moved, correct its URL")
        return ServiceRefusedError(f"{told}: it does not accept this request, check URL and settings")

    def _retry_after(self, reply: Reply) -> float:
        """What the service asks for in seconds, 0 where it says nothing that can be read."""
        told = reply.headers.get("Retry-After", "").strip()
        if told.isdecimal():
            return float(told)
        try:
            return max(0.0, parsedate_to_datetime(told).timestamp() - self.now())
        except (ValueError, TypeError, OverflowError):
            return 0.0

    def _json(self, reply: Reply) -> Any:
        if len(reply.body) > ANSWER_BYTES:
            raise BadAnswerError(f"{self.name} sent more than {ANSWER_BYTES >> 20} MB: ask it for less")
        try:
            return json.loads(reply.body)
        except (ValueError, RecursionError):
            raise BadAnswerError(
                f"{self.name} answered with {len(reply.body)} bytes that are not JSON, or cut: check its URL"
            ) from None


def _whole_body(answer: Any) -> bytes:
    """
    Raises:
        urllib3.exceptions.HTTPError: it broke off, or came too slowly.
    """
    data: bytes = answer.read(ANSWER_BYTES + 1)
    answer.release_conn()
    length = answer.headers.get("Content-Length", "")
    # urllib3 1.26, which Lambda's own boto3 may bring, takes a cut body for a whole one.
    if "Content-Encoding" not in answer.headers and length.isdecimal() and len(data) < min(int(length), ANSWER_BYTES):
        raise urllib3.exceptions.ProtocolError("the answer broke off")
    return data


def _code_of(body: bytes) -> str:
    """The service's own word for an error, in brackets; its prose may quote the request or the key, and stays here."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    error = told.get("error", told) if isinstance(told, dict) else None
    for member in ("code", "type", "error_code") if isinstance(error, dict) else ():
        word = error.get(member)  # type: ignore[union-attr]
        if isinstance(word, str) and _CODE.fullmatch(word):
            return f" ({word})"
    return ""

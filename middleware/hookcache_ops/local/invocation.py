"""One invocation between the two sides of the service: what the caller sent, and what the runtime answers."""

import asyncio
import json
import uuid
from dataclasses import dataclass, field

SYNC_BYTES = 6 * 1024 * 1024
EVENT_BYTES = 1024 * 1024
ANSWER_BYTES = SYNC_BYTES + 100  # as AWS reports its own limit in Function.ResponseSizeTooLarge


@dataclass(frozen=True, slots=True)
class Whole:
    """The answer, complete: the handler returned it."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """The function failed: its error object as JSON, as the caller gets it."""

    body: bytes

    @classmethod
    def of(cls, error_type: str, message: str) -> "Failure":
        return cls(json.dumps({"errorType": error_type, "errorMessage": message}).encode())


@dataclass(frozen=True, slots=True)
class Begin:
    """The runtime streams its answer: the content type, pieces follow."""

    content_type: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a streamed answer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """A streamed answer is over; with an error type if the function failed in the middle."""

    error_type: str = ""
    error_body: str = ""


Ending = Whole | Failure | End


@dataclass(slots=True)
class Invocation:
    """
    A request on its way through one environment.

    `events` carries what the caller may see, in order, closed by exactly one `Ending`; `ending` is set as soon as
    the runtime has given it, before its log lines are collected.
    """

    arn: str
    payload: bytes
    client_context: str | None = None
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    events: asyncio.Queue[Begin | Piece | Ending] = field(default_factory=asyncio.Queue)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ending: Ending | None = None
    dispatched: float = 0.0  # wall clock, seconds; 0 until the runtime took it
    lines: list[str] = field(default_factory=list)

    def end(self, ending: Ending) -> None:
        """Take the runtime's ending; the first one counts."""
        if self.ending is None:
            self.ending = ending
            self.ended.set()

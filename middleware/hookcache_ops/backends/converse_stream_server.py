"""
Bedrock's ConverseStream on a real socket: event stream frames in a chunked response, word by word.

The answer repeats the prompt's own words, and names page images by their digests, so that equal requests get equal
answers and different ones differ. A test may give the script of an answer instead: events, a `Gate` that holds the stream
until it is opened, or an ending that is none.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hookcache_ops.backends.serving import Reply, Request, WireServer
from hookcache_ops.local import eventstream

HOLD_SECONDS = 30.0
"""A held stream goes on by itself after this long: a forgotten one must not hold a test run."""
STATUS = {"ThrottlingException": 429, "ValidationException": 400, "AccessDeniedException": 403}
THROTTLED = "Too many requests, please wait before trying again."


@dataclass(slots=True)
class Gate:
    """Holds a stream: `reached` is set when it stands there, it goes on when `opened` is."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Failed:
    """An error event, with which the stream ends: `throttlingException`, `modelStreamErrorException` and the like."""

    error_type: str
    message: str = "The model is gone."


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is closed in the middle of the response; stands last."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The response ends as if it were whole, without what should still have come; stands last."""


Step = Mapping[str, Any] | Gate | Failed | Cut | Stopped


def refused(error_type: str, message: str = THROTTLED) -> Reply:
    """No stream at all: an error in place of one, to be given to `misbehave`."""
    headers = {"x-amzn-ErrorType": error_type}
    return Reply.of_json({"message": message}, STATUS.get(error_type, 500), headers)


def text_events(pieces: list[str], usage: Mapping[str, int], stop: str = "end_turn") -> list[Step]:
    """A whole stream that says `pieces`, as the service orders its events."""
    said: list[Step] = [{"contentBlockDelta": {"delta": {"text": piece}, "contentBlockIndex": 0}} for piece in pieces]
    return [
        {"messageStart": {"role": "assistant"}},
        *said,
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"messageStop": {"stopReason": stop}},
        {"metadata": {"usage": dict(usage), "metrics": {"latencyMs": 7}}},
    ]


def echo(request: Mapping[str, Any]) -> list[Step]:
    """The answer of a server that was told nothing else."""
    words: list[str] = []
    for message in request["messages"]:
        for block in message["content"]:
            if "text" in block:
                words += block["text"].split()
            elif "image" in block:
                content = base64.b64decode(block["image"]["source"]["bytes"])
                words.append(f"[image {hashlib.sha256(content).hexdigest()}]")
    pieces = [f"{word} " for word in words]
    counted = {"inputTokens": len(words), "outputTokens": len(words), "totalTokens": 2 * len(words)}
    return text_events(pieces, counted)


class ConverseStreamServer(WireServer):
    """
    The service for as long as its `with` block.

    Args:
        word_seconds: what it takes before each frame, where a person looks on.

    `sent` counts the frames on the wire.
    """

    def __init__(self, word_seconds: float = 0.0) -> None:
        super().__init__()
        self.sent = 0
        self._word_seconds = word_seconds
        self._scripts: deque[Sequence[Step]] = deque()

    def tell(self, *script: Step) -> None:
        """What to say at the next request for which no script was given; without one it is the echo."""
        self._scripts.append(script)

    def forget(self) -> None:
        """Count from zero again, without scripts and orders."""
        self.behave()
        self._scripts.clear()
        self.requests.clear()
        self.calls = self.sent = 0

    def answer(self, request: Request) -> Reply:
        if request.parts[2:] != ("converse-stream",):
            return refused("ValidationException", f"not served here: {request.target}")
        script = self._scripts.popleft() if self._scripts else echo(request.json())
        headers = {"Content-Type": "application/vnd.amazon.eventstream"}
        return Reply(200, self._frames(script), headers, cut=isinstance(script[-1], Cut))

    def misfortune(self, how: str, request: Request) -> Reply:  # noqa: ARG002 - each misfortune is the same for all
        if how == "throttle":
            return refused("ThrottlingException")
        if how == "server_error":
            return refused("InternalServerException", "The service failed.")
        pieces, stop = ([], "end_turn") if how == "empty" else (["cut "], "max_tokens")
        usage = {"inputTokens": 1, "outputTokens": len(pieces), "totalTokens": 1 + len(pieces)}
        script = text_events(pieces, usage, stop)
        return Reply(200, self._frames(script), {"Content-Type": "application/vnd.amazon.eventstream"})

    def _frames(self, script: Sequence[Step]) -> Iterator[bytes]:
        for step in script:
            match step:
                case Gate():
                    step.reached.set()
                    step.opened.wait(HOLD_SECONDS)
                    continue
                case Cut() | Stopped():
                    return
                case Failed(error_type, message):
                    frame = eventstream.exception(error_type, json.dumps({"message": message}).encode())
                case event:
                    ((name, told),) = event.items()
                    frame = eventstream.frame(name, "application/json", json.dumps(told).encode())
            self._closing.wait(self._word_seconds)
            self.sent += 1
            yield frame

"""
Bedrock's ConverseStream on a real socket: event stream frames in a chunked response, word by word.

The answer repeats the prompt's own words, and names page images by their digests, so that equal requests get equal
answers and different ones differ. Told to misbehave, the server holds a stream until it is let go, cuts the connection,
stops without a word, or sends one of the errors that the service sends in the middle of a stream.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import unquote

from hookcache_ops.local import eventstream

HOLD_SECONDS = 30.0
"""A held stream goes on by itself after this long: a forgotten one must not hold a test run."""
STATUS = {"ThrottlingException": 429, "ValidationException": 400, "AccessDeniedException": 403}


@dataclass(slots=True)
class Gate:
    """Holds a stream: `reached` is set when it stands there, it goes on when `opened` is."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Refused:
    """No stream at all: an error in place of one."""

    error_type: str
    message: str = "Too many requests, please wait before trying again."


@dataclass(frozen=True, slots=True)
class Failed:
    """An error event, with which the stream ends."""

    error_type: str
    message: str = "The model is gone."


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is reset."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The response ends as if it were whole, without what should still have come."""


Step = Mapping[str, Any] | Gate | Refused | Failed | Cut | Stopped


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


class ConverseStreamServer:
    """
    The server for as long as its `with` block.

    `calls` counts requests, `requests` keeps them with their model, `sent` counts the events on the wire.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.sent = 0
        self._scripts: list[list[Step]] = []
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    @property
    def calls(self) -> int:
        return len(self.requests)

    def tell(self, *script: Step) -> None:
        """What to send at the next request that nothing was told for; without a script it is the echo."""
        with self._lock:
            self._scripts.append(list(script))

    def forget(self) -> None:
        """Count from zero again, with no script left."""
        with self._lock:
            self.requests.clear()
            self._scripts.clear()
            self.sent = 0

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"stage": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="converse-stream-server", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def script_for(self, model: str, request: dict[str, Any]) -> list[Step]:
        """The script of a request that has just come."""
        with self._lock:
            self.requests.append((model, request))
            return self._scripts.pop(0) if self._scripts else echo(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    stage: ClassVar[ConverseStreamServer]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Nothing: what goes wrong shows at the client."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _, _, model, operation = self.path.split("/")
        if operation != "converse-stream":
            self._refuse(Refused("ValidationException", f"not served here: {operation}"))
            return
        script = self.stage.script_for(unquote(model), json.loads(body))
        if script and isinstance(script[0], Refused):
            self._refuse(script[0])
            return
        try:
            self._stream(iter(script))
        except OSError:
            self.close_connection = True  # the client went away

    def _stream(self, script: Iterator[Step]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for step in script:
            match step:
                case Gate():
                    step.reached.set()
                    step.opened.wait(HOLD_SECONDS)
                case Cut():
                    self.close_connection = True
                    self.connection.close()
                    return
                case Stopped():
                    break
                case Failed(error_type, message):
                    self._chunk(eventstream.exception(error_type, json.dumps({"message": message}).encode()))
                    break
                case Refused():
                    raise ValueError("Refused stands alone, in place of a stream")
                case event:
                    ((name, told),) = event.items()
                    self._chunk(eventstream.frame(name, "application/json", json.dumps(told).encode()))
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self.stage.sent += 1
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _refuse(self, refused: Refused) -> None:
        body = json.dumps({"message": refused.message}).encode()
        self.send_response(STATUS.get(refused.error_type, 500))
        self.send_header("Content-Type", "application/json")
        self.send_header("x-amzn-ErrorType", refused.error_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

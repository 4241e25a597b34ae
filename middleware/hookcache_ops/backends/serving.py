"""
What the test servers of all backends share: a real HTTP server on a random port, which counts what it is asked and can
be told to misbehave.

    class TeaServer(WireServer):
        def answer(self, request): return Reply.of_json({"tea": len(request.body)})

    with TeaServer() as server:
        server.misbehave("throttle", "cut")      the next two answers
        server.misbehave("slow", always=True)    every answer from then on
        server.behave()

Servers speak the wire format of one service and nothing of hookcache's.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, unquote, urlsplit

MISFORTUNES = ("throttle", "server_error", "cut", "slow", "empty", "malformed", "max_tokens")
"""What every server can be told to do; `cut`, `slow` and `malformed` are done here, the others in each wire format."""

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in; names of headers in lower case, each part of the path decoded after the path was split."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def parts(self) -> tuple[str, ...]:
        """The path: `/model/a%2Fb/converse` has three parts."""
        return tuple(unquote(part) for part in urlsplit(self.target).path.strip("/").split("/"))

    @property
    def query(self) -> dict[str, str]:
        """Last value of each query parameter."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}

    def json(self) -> Any:
        """
        Raises:
            ValueError: the body is no JSON.
        """
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """
    What goes back.

    body   bytes, or pieces that are sent one by one in a chunked answer, each as soon as it is there
    cut    break off: half-way through bytes, or instead of the end of a chunked answer
    """

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False

    @classmethod
    def of_json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        """A whole answer of content type JSON."""
        return cls(status, json.dumps(value).encode(), {"Content-Type": JSON, **(headers or {})})


class WireServer(ABC):
    """
    A server for the time of its `with` block.

    Attributes:
        calls: requests for an answer so far, the failed ones included; what `counts` says.
        requests: all that came in, oldest first, for tests that look at what was sent.
        slow_seconds: how long `slow` holds an answer back.
    """

    slow_seconds: float = 30.0
    kept_requests: ClassVar[int] = 1000

    def __init__(self) -> None:
        self.calls = 0
        self.requests: deque[Request] = deque(maxlen=self.kept_requests)
        self.url = ""
        self._orders: deque[str | Reply] = deque()
        self._standing: str | Reply = ""
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._http: ThreadingHTTPServer | None = None

    # -- what a service fills in

    @abstractmethod
    def answer(self, request: Request) -> Reply:
        """The answer to a request, when nothing else was ordered. Runs in a thread per connection."""

    @abstractmethod
    def misfortune(self, how: str, request: Request) -> Reply:
        """The service's own way of `throttle`, `server_error`, `empty`, `max_tokens`, or of a word that it adds."""

    def counts(self, request: Request) -> bool:
        """Whether a request asks for an answer, or only for a state, a token and the like."""
        return request.method == "POST"

    # -- orders

    def misbehave(self, *how: str | Reply, always: bool = False) -> None:
        """The next counted requests get these answers, one each; with `always` the last one stays. A `Reply` is sent as it is."""
        with self._lock:
            self._orders.extend(how)
            self._standing = how[-1] if always else ""

    def behave(self) -> None:
        """Forget all orders."""
        with self._lock:
            self._orders.clear()
            self._standing = ""

    def reply(self, request: Request) -> Reply:
        """The answer to a request with what was ordered taken into account."""
        counted = self.counts(request)
        with self._lock:
            self.requests.append(request)
            self.calls += counted
            how = (self._orders.popleft() if self._orders else self._standing) if counted else ""
        if isinstance(how, Reply):
            return how
        if how == "slow" and self._closing.wait(self.slow_seconds):
            return Reply(503)  # nobody listens any more, and an answer may be work
        if how in ("", "slow"):
            return self.answer(request)
        if how == "cut":
            whole = self.answer(request)
            return Reply(whole.status, whole.body, whole.headers, cut=True)
        if how == "malformed":
            return Reply(200, b'{"output": ', {"Content-Type": JSON})
        return self.misfortune(how, request)

    # -- life

    def __enter__(self) -> Self:
        self._http = _Listener(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), name=type(self).__name__, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client may keep its connection open for as long as it lives
    request_queue_size = 128

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """A client that goes away is no news."""


def _handler_of(server: WireServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # pieces of a stream leave when they are written

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class uses
            """Nothing: requests hold documents."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = server.reply(Request(self.command, self.path, headers, body))
            with suppress(ConnectionError):
                self._send(reply)

        do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815 - as above

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if isinstance(reply.body, bytes):
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
            else:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for piece in reply.body:
                    if piece:
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                if not reply.cut:
                    self.wfile.write(b"0\r\n\r\n")
            self.close_connection = self.close_connection or reply.cut

    return Handler

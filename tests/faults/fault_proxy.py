"""
A proxy between the SDK and a local engine that breaks what passes through, as the test says.

    with FaultProxy(engine.url) as proxy:            a port of 127.0.0.1; boto3 is given proxy.url
        proxy.behave(Faults(hang=True))              from now on, for connections that are already open too
        proxy.behave(Faults(errors=(AwsError("PutItem", "ThrottlingException", 400, times=2),)))
        proxy.behave()                               all is well again

No engine throttles, hangs or lies by itself. HTTP/1.1 only, requests with a length: what boto3 sends to DynamoDB, S3,
Lambda and Secrets Manager. Fail-over, TLS and name resolution are not its business.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
PIECE_BYTES = 1024
HEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class AwsError:
    """
    A service's own refusal, given in place of its answer.

    Args:
        operation: part of the `X-Amz-Target` (`PutItem`) or, where there is none, of the request line (`GET /bucket`,
            `/invocations`); empty matches every request.
        code: as the SDK's error shows it.
        status: HTTP status.
        share: which share of the matching requests.
        times: how many in all; None for no end.
    """

    operation: str
    code: str
    status: int = 400
    share: float = 1.0
    times: int | None = None


@dataclass(frozen=True, slots=True)
class Faults:
    """
    What goes wrong. Shares are between 0 and 1; the default is nothing.

    Attributes:
        refuse: nobody listens; open connections are reset.
        hang: requests are taken and never answered.
        reset: share of requests that are answered with a TCP reset.
        delay_seconds: each request waits this long before it is passed on.
        cut: share of replies that end in the middle, with the connection.
        shorten: share of replies whose second half is missing and whose length says so: complete, and wrong.
        lose: share of requests that are carried out and whose reply is lost.
        bytes_per_second: speed of replies, 0 for no limit; so many that they arrive `PIECE_BYTES` at a time, or fewer.
        close_idle: connections are dropped without a word as soon as their reply is out: the next request on them meets a
            dead socket.
        errors: the first that matches a request answers it.
        operation: limits everything above but `refuse` and `errors` to requests that it matches, as in `AwsError`.
        times: and to so many of them; None for no end.
    """

    refuse: bool = False
    hang: bool = False
    reset: float = 0.0
    delay_seconds: float = 0.0
    cut: float = 0.0
    shorten: float = 0.0
    lose: float = 0.0
    bytes_per_second: float = 0.0
    close_idle: bool = False
    errors: tuple[AwsError, ...] = ()
    operation: str = ""
    times: int | None = None


@dataclass(slots=True)
class Message:
    """A request or reply as it came: its first line and headers, and its body."""

    head: bytes
    body: bytes

    @property
    def operation(self) -> str:
        """`DynamoDB_20120810.GetItem`, or the request line without its protocol."""
        target = _header(self.head, b"x-amz-target")
        return target or self.head.split(b"\r\n", 1)[0].rpartition(b" ")[0].decode("latin-1")


class FaultProxy:
    """
    A proxy in front of `upstream` for as long as its `with` block, in a thread of its own.

    Attributes:
        url: what the SDK is given as endpoint; the port stays the same while nobody listens.
        seen: how often each operation arrived, refused and broken ones included.
        connections: how many were accepted.
    """

    def __init__(self, upstream: str) -> None:
        target = urlsplit(upstream)
        self._upstream = (target.hostname or "127.0.0.1", target.port or 80)
        self._random = random.Random(0)
        self._faults = Faults()
        self._given: Counter[AwsError | Faults] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._port = 0
        self.seen: Counter[str] = Counter()
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run(self._stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def behave(self, faults: Faults | None = None) -> None:
        """Have these faults from now on, and no others; none for none."""
        self._run(self._change(faults or Faults()))

    def count(self, operation: str) -> int:
        """How many requests arrived whose operation contains this."""
        return sum(number for name, number in self.seen.items() if operation in name)

    def drop_connections(self) -> None:
        """Forget every open connection without a word to the other side, as a network does with idle ones."""
        self._run(self._drop())

    # -- on the proxy's own thread

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=HEAD_BYTES)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _change(self, faults: Faults) -> None:
        self._faults = faults
        self._given.clear()
        if faults.refuse and self._server is not None:
            self._server.close()
            self._server = None
            await self._drop()
        elif not faults.refuse and self._server is None:
            await self._listen()

    async def _drop(self) -> None:
        tasks = list(self._tasks.items())
        for task, writer in tasks:
            _reset(writer)
            task.cancel()
        await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # we run as one
        self._tasks[task] = writer
        self.connections += 1
        try:
            async with _connected(self._upstream) as upstream:
                while await self._pass_on(_Side(reader, writer), upstream):
                    pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass  # one of the two sides went away, or we stop: there is nobody to tell
        finally:
            del self._tasks[task]
            writer.close()

    async def _pass_on(self, client: _Side, upstream: _Side) -> bool:
        """One request and its reply. False when the connection is over."""
        request = await client.receive()
        self.seen[request.operation] += 1
        refusal = self._refusal(request)
        if refusal is not None:
            await client.send(refusal)
            return True
        faults = self._faults if self._befalls(request) else Faults()
        await asyncio.sleep(faults.delay_seconds)
        if faults.hang:
            await asyncio.Event().wait()
        if self._happens(faults.reset):
            _reset(client.writer)
            return False
        await upstream.send(request)
        reply = await upstream.receive(answers=request)
        return await self._answer(client, reply, faults)

    async def _answer(self, client: _Side, reply: Message, faults: Faults) -> bool:
        if self._happens(faults.lose):
            _reset(client.writer)
            return False
        if self._happens(faults.shorten):
            half = reply.body[: len(reply.body) // 2]
            reply = Message(_with_length(reply.head, len(half)), half)
        if self._happens(faults.cut):
            await client.send(Message(reply.head, reply.body[: len(reply.body) // 2]))
            return False
        await client.send(reply, faults.bytes_per_second)
        if faults.close_idle:
            _reset(client.writer)
        return not faults.close_idle

    def _befalls(self, request: Message) -> bool:
        faults = self._faults
        if faults.operation not in request.operation or self._given[faults] == faults.times:
            return False
        self._given[faults] += 1
        return True

    def _refusal(self, request: Message) -> Message | None:
        for error in self._faults.errors:
            spent = error.times is not None and self._given[error] >= error.times
            if error.operation in request.operation and not spent and self._happens(error.share):
                self._given[error] += 1
                return _error_reply(error, request)
        return None

    def _happens(self, share: float) -> bool:
        return share > 0 and self._random.random() < share


@dataclass(slots=True)
class _Side:
    """One of the two connections."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def receive(self, answers: Message | None = None) -> Message:
        """The next message; `answers` is the request if it is a reply."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        if answers is None and _header(head, b"expect").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")  # the body is taken whole, whatever becomes of it
            head = _without(head, b"expect")
        if answers is not None and answers.head.startswith(b"HEAD "):
            return Message(head, b"")
        if _header(head, b"transfer-encoding").lower() == "chunked":
            body = await self._chunks()
            return Message(_with_length(_without(head, b"transfer-encoding"), len(body)), body)
        length = _header(head, b"content-length")
        if answers is not None and not length:
            return Message(head, b"" if b" 204 " in head[:16] else await self.reader.read())
        return Message(head, await self.reader.readexactly(int(length or 0)))

    async def _chunks(self) -> bytes:
        body = b""
        while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        while await self.reader.readuntil(b"\r\n") != b"\r\n":
            pass  # trailers: nobody here needs them
        return body

    async def send(self, message: Message, bytes_per_second: float = 0.0) -> None:
        self.writer.write(message.head)
        piece = max(1, min(PIECE_BYTES, int(bytes_per_second / 4))) if bytes_per_second else len(message.body) or 1
        for start in range(0, len(message.body), piece):
            self.writer.write(message.body[start : start + piece])
            await self.writer.drain()
            if bytes_per_second:
                await asyncio.sleep(piece / bytes_per_second)
        await self.writer.drain()


@asynccontextmanager
async def _connected(address: tuple[str, int]) -> AsyncIterator[_Side]:
    reader, writer = await asyncio.open_connection(*address, limit=HEAD_BYTES)
    try:
        yield _Side(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection so that the other side gets a reset, not an orderly end."""
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        has, _, value = line.partition(b":")
        if has.strip().lower() == name:
            return value.strip().decode("latin-1")
    return ""


def _without(head: bytes, name: bytes) -> bytes:
    first, *lines = head.rstrip(b"\r\n").split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].strip().lower() != name]
    return b"\r\n".join([first, *kept]) + b"\r\n\r\n"


def _with_length(head: bytes, length: int) -> bytes:
    rest = _without(_without(head, b"content-length"), b"x-amz-crc32")  # a checksum would give the change away
    return rest[:-2] + b"Content-Length: %d\r\n\r\n" % length


def _error_reply(error: AwsError, request: Message) -> Message:
    """The refusal in the spelling of the service: DynamoDB and Secrets Manager, Lambda, or S3."""
    if _header(request.head, b"x-amz-target"):
        body = json.dumps({"__type": f"com.amazonaws#{error.code}", "message": "injected"}).encode()
        kind = b"application/x-amz-json-1.0"
    elif b"/2015-03-31/" in request.head.split(b"\r\n", 1)[0]:
        body, kind = json.dumps({"Type": "User", "message": "injected"}).encode(), b"application/json"
    else:
        body = f"<Error><Code>{error.code}</Code><Message>injected</Message></Error>".encode()
        kind = b"application/xml"
    if request.head.startswith(b"HEAD "):
        body = b""
    head = b"HTTP/1.1 %d Injected\r\nContent-Type: %s\r\nX-Amzn-ErrorType: %s\r\nContent-Length: %d\r\n\r\n"
    return Message(head % (error.status, kind, error.code.encode(), len(body)), body)

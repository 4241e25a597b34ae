"""
HTTP/1.1 on an asyncio socket, with h11 as the parser: the little that the Lambda API and the Runtime API need.

Both sides of the local Lambda service stream bodies chunk by chunk and use trailers, which the server of the
standard library cannot do.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import h11

READ_BYTES = 1 << 16
HEADER_BYTES = 1 << 20  # the Runtime API carries errors of up to 1 MB in headers


class Disconnected(Exception):
    """The other side went away in the middle of a message."""


@dataclass(frozen=True, slots=True)
class Head:
    """Request line and headers; names of headers in lower case, the path decoded after it was split."""

    method: str
    parts: tuple[str, ...]
    raw_path: str
    raw_query: str
    headers: Mapping[str, str]

    @property
    def query(self) -> dict[str, str]:
        """Last value of each query parameter."""
        return {name: values[-1] for name, values in parse_qs(self.raw_query, keep_blank_values=True).items()}


@dataclass(slots=True)
class Connection:
    """One accepted connection: read a request, answer it, and again while the client keeps it open."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    state: h11.Connection = field(
        default_factory=lambda: h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES)
    )

    @property
    def left(self) -> bool:
        """Whether the other side has closed its end."""
        return self.reader.at_eof()

    async def _next(self) -> Any:
        while (event := self.state.next_event()) is h11.NEED_DATA:
            if self.state.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self.state.receive_data(await self.reader.read(READ_BYTES))
        return event

    async def _send(self, *events: Any) -> None:
        for event in events:
            if data := self.state.send(event):
                self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> Head | None:
        """The next request's head, or None when the client has closed."""
        event = await self._next()
        if not isinstance(event, h11.Request):
            return None
        target = urlsplit(event.target.decode("ascii"))
        return Head(
            method=event.method.decode("ascii"),
            # Split before decoding: an ARN arrives as one part with its slashes, if any, percent-encoded.
            parts=tuple(unquote(part) for part in target.path.strip("/").split("/")),
            raw_path=target.path,
            raw_query=target.query,
            headers={name.decode("ascii"): value.decode("latin-1") for name, value in event.headers},
        )

    async def chunk(self) -> bytes | dict[str, str]:
        """The next piece of the request's body; at its end the trailers (names in lower case)."""
        event = await self._next()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
        raise Disconnected

    async def body(self, limit: int) -> tuple[bytes, int]:
        """The whole body, cut after `limit` bytes, and its true length: the rest is read and dropped."""
        kept, length = bytearray(), 0
        while isinstance(piece := await self.chunk(), bytes):
            length += len(piece)
            kept += piece[: max(0, limit - len(kept))]
        return bytes(kept), length

    async def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """A whole answer at once."""
        fields = {**(headers or {}), **({} if status == 204 else {"content-length": str(len(body))})}
        await self._send(
            h11.Response(status_code=status, headers=list(fields.items())), h11.Data(data=body), h11.EndOfMessage()
        )

    async def reply_json(self, status: int, members: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """A whole answer of content type JSON."""
        await self.reply(status, json.dumps(members).encode(), {"content-type": "application/json", **headers})

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Start an answer of unknown length."""
        fields = [*headers.items(), ("transfer-encoding", "chunked")]
        await self._send(h11.Response(status_code=status, headers=fields))

    async def send(self, data: bytes) -> None:
        """A piece of an answer begun before; on the wire when this returns. Empty pieces are left out."""
        if data:
            await self._send(h11.Data(data=data))

    async def end(self) -> None:
        """Complete an answer begun before."""
        await self._send(h11.EndOfMessage())

    def cut(self) -> None:
        """Break off an answer begun before, so that the client can tell it from a complete one."""
        self.writer.transport.abort()


Handler = Callable[[Connection, Head], Awaitable[None]]


@dataclass(slots=True)
class Server:
    """A listening socket on a random port of 127.0.0.1 and the connections accepted on it."""

    handler: Handler
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we run as one
        self._tasks.add(task)
        writer.transport.set_write_buffer_limits(0)  # what was sent is on the wire, not with us: `cut` would drop it
        connection = Connection(reader, writer)
        try:
            while (head := await connection.head()) is not None:
                await self.handler(connection, head)
                if connection.state.our_state is not h11.DONE or connection.state.their_state is not h11.DONE:
                    break
                connection.state.start_next_cycle()
        except (Disconnected, OSError, h11.ProtocolError, asyncio.CancelledError):
            pass  # the client went away or does not speak HTTP, or we stop: there is nobody to tell
        finally:
            self._tasks.discard(task)
            writer.close()

    async def drain(self, seconds: float) -> None:
        """Wait for the connections to end, at most so long: what a peer had sent before it went away has then been read."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def stop(self) -> None:
        """Stop listening and drop every connection; what their handlers were doing is cancelled."""
        if self._server is not None:
            self._server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

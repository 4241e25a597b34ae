"""
Kept HTTP/1.1 connections to one endpoint, each used for one exchange at a time.

As much of HTTP as AWS's own services speak to a client that asks for nothing special: a status line, headers, and a body
of announced length. Any other framing is `Unusual`, which sends the call to boto3. The standard library's client costs
15 ms of a cold start and twice the CPU of a call, nearly all for parsing headers as if they were mail.

A connection that fails takes all idle ones with it: what killed it, a frozen environment above all, killed them too, and
the caller's repeat must meet a new one (F32).
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from hookcache.slim.unusual import Unusual

IDLE_SECONDS = 50.0
"""Kept no longer than this without use, by wall clock, which runs on in a frozen environment."""
MAX_LINE_BYTES = 16_384
BUFFER_BYTES = 16_384
"""Per connection; a longer read goes past it."""
MAX_HEADERS = 100


class Reply:
    """
    Status, headers (lower-case names) and a body that is read from its connection.

    Closed, it gives the connection back if the body was read to its end, and ends it if not.
    """

    def __init__(self, connection: _Connection, status: int, headers: dict[str, str], left: int) -> None:
        self._connection = connection
        self._left = left
        self._closed = False
        self.status, self.headers = status, headers

    def read(self, size_bytes: int | None = None) -> bytes:
        """
        At most so many bytes, all without a bound, empty at the end.

        Raises:
            IncompleteReadError, ReadTimeoutError, ConnectionClosedError: the body did not come whole (F28).
        """
        wanted = self._left if size_bytes is None else min(size_bytes, self._left)
        if wanted <= 0:
            return b""
        try:
            data: bytes = self._connection.file.read(wanted)
        except OSError as error:
            self._connection.fail(error)
        self._took(len(data), wanted)
        return data

    def readinto(self, space: memoryview) -> int:
        """As `read`, into a buffer of the caller's: how many bytes came, 0 at the end. Raises as `read` does."""
        wanted = min(len(space), self._left)
        if wanted <= 0:
            return 0
        try:
            count: int = self._connection.file.readinto(space[:wanted])
        except OSError as error:
            self._connection.fail(error)
        self._took(count, wanted)
        return count

    def _took(self, count: int, wanted: int) -> None:
        self._left -= count
        if count < wanted:
            from botocore.exceptions import IncompleteReadError

            self._connection.end()
            raise IncompleteReadError(actual_bytes=count, expected_bytes=wanted)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._left == 0 and self.headers.get("connection", "").lower() != "close":
            self._connection.give_back()
        else:
            self._connection.end()


class _Connection:
    """One open socket of a wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.socket = wire.dial()
        self.file: Any = self.socket.makefile("rb", BUFFER_BYTES)
        self.since = 0.0

    def exchange(self, request: bytes) -> tuple[int, dict[str, str]]:
        """Status and headers of the reply to `request`."""
        try:
            self.socket.sendall(request)
            return self._head()
        except OSError as error:
            self.fail(error)
        except (ValueError, IndexError):
            self.end()
            raise Unusual("framing") from None

    def _head(self) -> tuple[int, dict[str, str]]:
        line = self._line()
        if not line:
            raise ConnectionResetError("closed before it answered")
        status = int(line.split(None, 2)[1]) if line.startswith(b"HTTP/1.1 ") else 0
        headers: dict[str, str] = {}
        while line := self._line():
            name, colon, value = line.partition(b":")
            if not colon or len(headers) > MAX_HEADERS:
                raise ValueError
            headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
        if status < 200 or "transfer-encoding" in headers:
            raise ValueError
        return status, headers

    def _line(self) -> bytes:
        line: bytes = self.file.readline(MAX_LINE_BYTES)
        if line and not line.endswith(b"\n"):
            raise ValueError
        return line.rstrip(b"\r\n")

    def is_usable(self) -> bool:
        """False once it was idle too long, or the other side closed it or said something unasked."""
        if not 0 <= time.time() - self.since < IDLE_SECONDS:
            return False
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return not poll.poll(0)

    def give_back(self) -> None:
        if self._said_more():
            self.end()
            return
        self.since = time.time()
        self._wire.keep(self)

    def _said_more(self) -> bool:
        """True if more came than the reply announced: it would be taken for the reply to the next request."""
        seconds = self.socket.gettimeout()
        self.socket.settimeout(0)
        try:
            return bool(self.file.peek(1))
        except OSError:  # nothing is there, as TLS says it, or the connection is lost, which `is_usable` finds out
            return False
        finally:
            self.socket.settimeout(seconds)

    def end(self) -> None:
        self.file.close()
        self.socket.close()

    def fail(self, error: OSError) -> NoReturn:
        self.end()
        self._wire.close()
        _raise(self._wire.url, error)


class Wire:
    """
    Connections to one endpoint.

    Args:
        url: scheme, host and port, no path.
        connect_seconds, read_seconds: bounds of one wait each; the bound on a whole call is its caller's.
        most_idle: how many are kept.
    """

    def __init__(
        self,
        url: str,
        tls: Callable[[], ssl.SSLContext],
        connect_seconds: float,
        read_seconds: float,
        most_idle: int = 64,
    ) -> None:
        scheme, _, self.host = url.partition("://")
        name, _, port = self.host.partition(":")
        if scheme not in {"http", "https"} or not name or "/" in self.host or "@" in self.host or "[" in self.host:
            raise Unusual("endpoint")
        self.url = url
        self._secure, self._name = scheme == "https", name
        self._port = int(port) if port else 443 if self._secure else 80
        self._tls = tls
        self._connect_seconds, self._read_seconds = connect_seconds, read_seconds
        self._most_idle = most_idle
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []

    def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """
        One request and the head of its reply.

        Raises:
            EndpointConnectionError, ConnectTimeoutError, SSLError: no connection was made, so nothing was sent.
            ReadTimeoutError, ConnectionClosedError: it is not known whether the request was carried out.
            Unusual: the reply is none that is understood here.
        """
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]) if body else "\r\n".join([*lines, "", ""])
        connection = self._kept() or _Connection(self)
        status, told = connection.exchange(head.encode("latin-1") + body)
        if method == "HEAD" or status in {204, 304}:
            return Reply(connection, status, told, 0)
        length = told.get("content-length", "")
        if not length.isdecimal():
            connection.end()
            raise Unusual("framing")
        return Reply(connection, status, told, int(length))

    def dial(self) -> socket.socket:
        """A new connection. Raises as `exchange` does."""
        try:
            made = socket.create_connection((self._name, self._port), self._connect_seconds)
        except OSError as error:
            _raise(self.url, error, connecting=True)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._secure:
                made = self._tls().wrap_socket(made, server_hostname=self._name)
            made.settimeout(self._read_seconds)
        except ssl.SSLCertVerificationError:
            made.close()
            raise Unusual("certificate") from None  # nothing was sent; boto3 trusts more roots than we load
        except OSError as error:
            made.close()
            _raise(self.url, error, connecting=True)
        return made

    def keep(self, connection: _Connection) -> None:
        with self._lock:
            if len(self._idle) < self._most_idle:
                self._idle.append(connection)
                return
        connection.end()

    def close(self) -> None:
        """End the idle connections; new ones are made when needed."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.end()

    def _kept(self) -> _Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.end()


def _raise(url: str, error: OSError, *, connecting: bool = False) -> NoReturn:
    """Raise what boto3 would raise. Imported here, since a hit needs none of it."""
    from botocore import exceptions as known

    if isinstance(error, TimeoutError):
        kind = known.ConnectTimeoutError if connecting else known.ReadTimeoutError
        raise kind(endpoint_url=url, error=error) from error
    if isinstance(error, ssl.SSLError) and connecting:
        raise known.SSLError(endpoint_url=url, error=error) from error
    if connecting:
        raise known.EndpointConnectionError(endpoint_url=url, error=error) from error
    raise known.ConnectionClosedError(endpoint_url=url, error=error) from error

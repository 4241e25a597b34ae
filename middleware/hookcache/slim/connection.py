"""
One open connection, and the reply that is read from it.

As much of HTTP as AWS's own services speak to a client that asks for nothing special: a status line, headers, and a body
of announced length. Any other framing is `Unusual`, which sends the call to boto3. The standard library's client costs
15 ms of a cold start and twice the CPU of a call, nearly all for parsing headers as if they were mail.
"""

from __future__ import annotations

import io
import math
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, NoReturn

from hookcache.slim.unusual import Unusual

if TYPE_CHECKING:
    from hookcache.slim.wire import Wire

IDLE_SECONDS = 50.0
"""Kept no longer than this without use, by wall clock, which runs on in a frozen environment."""
MAX_LINE_BYTES = 16_384
BUFFER_BYTES = 16_384
"""Per connection; a longer read goes past it."""
MAX_HEADERS = 100


class _Incoming(io.RawIOBase):
    """What a socket receives until `ends`, by elapsed time: a timeout bounds one wait, and a drip of bytes many."""

    def __init__(self, received: socket.socket) -> None:
        self._socket = received
        self.ends = math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.ends < math.inf:
            left = self.ends - time.monotonic()
            if left <= 0:
                raise TimeoutError("the reply did not come whole in time")
            if left < (self._socket.gettimeout() or math.inf):
                self._socket.settimeout(left)
        return self._socket.recv_into(buffer)


class Reply:
    """
    Status, headers (lower-case names) and a body that is read from its connection.

    Closed, it gives the connection back if the body was read to its end, and ends it if not.
    """

    def __init__(self, connection: Connection, status: int, headers: dict[str, str], left: int) -> None:
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
            count = self._connection.file.readinto(space[:wanted])
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


class Connection:
    """One open socket of a wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.socket = wire.dial()
        self._incoming = _Incoming(self.socket)
        self.file = io.BufferedReader(self._incoming, BUFFER_BYTES)
        self.since = 0.0

    def bound(self, seconds: float) -> None:
        """What is received from now on must have come within so many seconds."""
        self._incoming.ends = time.monotonic() + seconds

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
        if self._incoming.ends < math.inf:
            self._incoming.ends = math.inf
            self.socket.settimeout(self._wire.read_seconds)
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
        raise_as_boto3(self._wire.url, error)


def raise_as_boto3(url: str, error: OSError, *, connecting: bool = False) -> NoReturn:
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

"""
One open connection, and the reply that is read from it.

As much of HTTP as AWS's own services speak to a client that asks for nothing special: a status line, headers, and a body
of announced length, which refusals of S3 have in chunks. Any other framing is `Unusual`, which sends the call to boto3. The
standard library's client costs 15 ms of a cold start and twice the CPU of a call, nearly all for parsing headers as if they
were mail.
"""

from __future__ import annotations

import math
import select
import ssl
import time

from hookcache.hints import TYPE_CHECKING, NoReturn
from hookcache.slim.unusual import Unusual

if TYPE_CHECKING:
    from hookcache.slim.wire import Wire

IDLE_SECONDS = 50.0
"""Kept no longer than this without use, by wall clock, which runs on in a frozen environment."""
BUFFER_BYTES = 16_384
"""The head of a reply, and most often its body, are received by one call of so much."""
MAX_HEAD_BYTES = 65_536
_HEAD_ENDS = b"\r\n\r\n"
_FRAMING = ("content-length", "transfer-encoding")


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
        space = bytearray(wanted)
        self.readinto(memoryview(space))
        return bytes(space)

    def whole(self) -> bytes:
        """All of the body, and the connection given back. Raises as `read` does."""
        connection = self._connection
        # As nearly always: it came with the head, and nothing behind it.
        if self._left == len(connection.rest) and self._may_stay_open():
            content, connection.rest = connection.rest, b""
            self._left, self._closed = 0, True
            connection.give_back()
            return content
        try:
            return self.read()
        finally:
            self.close()

    def readinto(self, space: memoryview) -> int:
        """As `read`, into a buffer of the caller's: how many bytes came, 0 at the end. Raises as `read` does."""
        wanted = min(len(space), self._left)
        if wanted <= 0:
            return 0
        try:
            count = self._connection.receive_into(space[:wanted])
        except OSError as error:
            self._connection.fail(error)
        self._left -= count
        if count < wanted:
            from botocore.exceptions import IncompleteReadError

            self._connection.end()
            raise IncompleteReadError(actual_bytes=count, expected_bytes=wanted)
        return count

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._left == 0 and self._may_stay_open():
            self._connection.give_back()
        else:
            self._connection.end()

    def _may_stay_open(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


class Connection:
    """One open socket of a wire. `rest` is what was received and not yet read."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.socket = wire.dial()
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN)
        self._ends = math.inf
        self.rest = b""
        self.since = 0.0

    def bound(self, seconds: float) -> None:
        """What is received from now on must have come within so many seconds."""
        self._ends = time.monotonic() + seconds

    def exchange(self, request: bytes, *, bodiless: bool = False) -> tuple[int, dict[str, str]]:
        """
        Status and headers of the reply to `request`; `bodiless` says that it has no body. Chunks of a refusal are received
        and joined, and their length is told as if it had been announced.

        Raises:
            ReadTimeoutError, ConnectionClosedError: what boto3 would raise for such an end.
            Unusual: `framing`, for a reply that no service of AWS's sends.
        """
        try:
            self._keep_bound()
            self.socket.sendall(request)
            return self._head(bodiless=bodiless)
        except OSError as error:
            self.fail(error)
        except (ValueError, IndexError):
            self.end()
            raise Unusual("framing") from None

    def receive_into(self, space: memoryview) -> int:
        """Fill `space`; how many bytes came, fewer only if the other side ended the connection."""
        count = min(len(space), len(self.rest))
        space[:count], self.rest = self.rest[:count], self.rest[count:]
        while count < len(space):
            self._keep_bound()
            came = self.socket.recv_into(space[count:])
            if not came:
                break
            count += came
        return count

    def _head(self, *, bodiless: bool) -> tuple[int, dict[str, str]]:
        received = b""
        while (end := received.find(_HEAD_ENDS)) < 0:
            if b"\n\n" in received or len(received) > MAX_HEAD_BYTES:
                raise ValueError
            self._keep_bound()
            more = self.socket.recv(BUFFER_BYTES)
            if not more:
                raise ValueError if received else ConnectionResetError("closed before it answered")
            received += more
        head, self.rest = received[:end], received[end + len(_HEAD_ENDS) :]
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(None, 2)[1]) if first.startswith("HTTP/1.1 ") else 0
        headers: dict[str, str] = {}
        for line in lines:
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        # To others a line feed alone ends a line, and a blank at the beginning continues the last one.
        if status < 200 or head.count(b"\n") != len(lines) or b"\n " in head or b"\n\t" in head:
            raise ValueError
        if len(headers) < len(lines):  # one was told twice: which of two lengths holds is not for us to say
            names = [line.split(":", 1)[0].lower() for line in lines]
            if any(names.count(name) > 1 for name in _FRAMING):
                raise ValueError
        if "transfer-encoding" in headers and not bodiless:
            if status < 400 or headers["transfer-encoding"].lower() != "chunked":
                raise ValueError
            headers["content-length"] = str(self._join_chunks())
        return status, headers

    def _join_chunks(self) -> int:
        """Put what a short body's chunks hold in front of `rest`; how many bytes that is."""
        content = b""
        while count := int(self._line(), 16):
            if not 0 < count <= MAX_HEAD_BYTES - len(content):
                raise ValueError
            chunk = bytearray(count)
            if self.receive_into(memoryview(chunk)) < count or self._line():
                raise ValueError
            content += chunk
        if self._line():
            raise ValueError
        self.rest = content + self.rest
        return len(content)

    def _line(self) -> bytes:
        while (end := self.rest.find(b"\r\n")) < 0:
            if len(self.rest) > BUFFER_BYTES:
                raise ValueError
            self._keep_bound()
            more = self.socket.recv(BUFFER_BYTES)
            if not more:
                raise ValueError
            self.rest += more
        line, self.rest = self.rest[:end], self.rest[end + 2 :]
        return line

    def _keep_bound(self) -> None:
        """A timeout of a socket bounds one wait, of a request's sending all of it; a drip of bytes is many."""
        if self._ends < math.inf:
            left = self._ends - time.monotonic()
            if left <= 0:
                raise TimeoutError("the reply did not come whole in time")
            if left < (self.socket.gettimeout() or math.inf):
                self.socket.settimeout(left)

    def is_usable(self) -> bool:
        """False once it was idle too long, or the other side closed it or said something unasked."""
        return 0 <= time.time() - self.since < IDLE_SECONDS and not self._poll.poll(0)

    def give_back(self) -> None:
        self._ends = math.inf
        if self.socket.gettimeout() != self._wire.read_seconds:
            self.socket.settimeout(self._wire.read_seconds)
        if self.rest or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            self.end()  # more came than the reply announced: it would be taken for the reply to the next request
            return
        self.since = time.time()
        self._wire.keep(self)

    def end(self) -> None:
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

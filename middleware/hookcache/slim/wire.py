"""
Kept connections to one endpoint, each used for one exchange at a time.

A connection that fails takes all idle ones with it: what killed it, a frozen environment above all, killed them too, and
the caller's repeat must meet a new one (F32).
"""

from __future__ import annotations

import math
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping

from hookcache.hints import Any
from hookcache.slim.connection import Connection, Reply, raise_as_boto3
from hookcache.slim.unusual import Unusual

_URL = re.compile(r"(https?)://([A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_BODILESS = frozenset({204, 304})
_MOST_DIGITS = 15
"""Of a length: no object has so many bytes, and of thousands of digits Python makes no number."""


class Wire:
    """
    Connections to one endpoint.

    Args:
        url: scheme, host and port, no path.
        tls: gives the context of connections to `https` addresses; it is not asked for others.
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
        known = _URL.fullmatch(url)
        if known is None:
            raise Unusual("endpoint")
        scheme, name, port = known.groups()
        self.url, self.host = url, url.partition("://")[2]
        # As bytes: for a text Python loads the tables of international names first, 0.2 MB.
        self._secure, self._name = scheme == "https", name.encode()
        self._port = int(port) if port else 443 if self._secure else 80
        self._tls = tls
        self._connect_seconds, self.read_seconds = connect_seconds, read_seconds
        self._most_idle = most_idle
        self._lock = threading.Lock()
        self._idle: list[Connection] = []

    def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """
        One request and the head of its reply, over whichever connection is open or can be made.

        Raises:
            EndpointConnectionError, ConnectTimeoutError, SSLError: no connection was made, so nothing was sent.
            ReadTimeoutError, ConnectionClosedError: it is not known whether the request was carried out.
            Unusual: the reply is none that is understood here.
        """
        lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
        if body:
            lines.append(f"content-length: {len(body)}")
        head = "\r\n".join([*lines, "", ""])
        request = head.encode("latin-1") + body
        return self.send(request, self.kept() or Connection(self), bodiless=method == "HEAD")

    def send(self, request: bytes, over: Connection, *, bodiless: bool = False) -> Reply:
        """A request as its bytes, `over` a connection of ours. `bodiless` says that its reply has no body. Raises as `exchange`."""
        status, told = over.exchange(request, bodiless=bodiless)
        if bodiless or status in _BODILESS:
            return Reply(over, status, told, 0)
        length = told.get("content-length", "")
        if not length.isdecimal() or len(length) > _MOST_DIGITS:
            over.end()
            raise Unusual("framing")
        return Reply(over, status, told, int(length))

    def kept(self, seconds: float = math.inf) -> Connection | None:
        """
        A connection that is open already, for an exchange of `seconds` at most; None where there is none.

        No name is resolved and nobody is dialled for it: such an exchange needs no thread of its own to be bounded.
        """
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_usable():
                connection.bound(seconds)
                return connection
            connection.end()

    def dial(self) -> socket.socket:
        """A new connection. Raises as `exchange` does."""
        trust = self._trust() if self._secure else None
        try:
            address: Any = (self._name, self._port)
            made = socket.create_connection(address, self._connect_seconds)
        except OSError as error:
            raise_as_boto3(self.url, error, connecting=True)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if trust is not None:
                made = trust.wrap_socket(made, server_hostname=self._name)
            made.settimeout(self.read_seconds)
        except ssl.SSLCertVerificationError:
            made.close()
            raise Unusual("certificate") from None  # nothing was sent; boto3 trusts more roots than we load
        except OSError as error:
            made.close()
            raise_as_boto3(self.url, error, connecting=True)
        return made

    def _trust(self) -> ssl.SSLContext:
        try:
            return self._tls()
        except OSError:
            raise Unusual("roots") from None  # there are none where we look; boto3 looks in other places as well

    def keep(self, connection: Connection) -> None:
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

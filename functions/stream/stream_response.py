"""
An answer on its way to the Runtime API piece by piece: one HTTP/1.1 request whose body is still being made.

    begin -> write ... write -> end            the answer is whole
    begin -> write ... write -> end(error)     it broke off; the error goes behind it, in the request's trailers

A caller who reads slowly must not keep the answer from being finished and stored, so `write` never waits: what the socket
does not take at once is sent with the next piece, at the latest by `end`, which does wait.
Source: Lambda Developer Guide, "Implementing response streaming in a custom runtime".
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

INTEGRATION = "application/vnd.awslambda.http-integration-response"
"""Says that status and headers come first, as JSON, and eight zero bytes before the body: for function URLs alone."""
PRELUDE_END = b"\0" * 8
CONNECT_SECONDS = 2.0
REPLY_SECONDS = 2.0
RESERVE_SECONDS = 0.5
"""`end` gives up so long before the invocation's time is over, for then the process would be killed."""
_HEAD = (
    "POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1\r\n"
    "Host: {api}\r\n"
    "Content-Type: {content_type}\r\n"
    "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
    "Transfer-Encoding: chunked\r\n"
    "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n"
    "\r\n"
)


class Stream:
    """
    The streamed answer of one invocation.

    Args:
        api: host and port of the Runtime API.
        remaining_seconds: what is left of the invocation.

    `begun` tells whether anything was said, `gone` whether the Runtime API no longer listens. Lambda itself keeps listening
    when a caller hangs up; should it ever not, the pieces are dropped and the function's work goes on (P53).
    """

    def __init__(self, api: str, request_id: str, remaining_seconds: Callable[[], float]) -> None:
        self._api = api
        self._request_id = request_id
        self._remaining_seconds = remaining_seconds
        self._socket: socket.socket | None = None
        self._pending = bytearray()
        self.begun = False
        self.gone = False

    def begin(self, content_type: str, prelude: Mapping[str, Any] | None = None) -> None:
        """Start the answer. `prelude` holds `statusCode` and `headers`, for a caller behind a function URL."""
        self.begun = True
        told = content_type if prelude is None else INTEGRATION
        self._pending += _HEAD.format(request_id=self._request_id, api=self._api, content_type=told).encode()
        host, _, port = self._api.rpartition(":")
        try:
            self._socket = socket.create_connection((host, int(port or 80)), CONNECT_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a word is worth a packet of its own
            self._socket.setblocking(False)
        except OSError:
            self._lose()
            return
        if prelude is not None:
            self.write(json.dumps(prelude).encode() + PRELUDE_END)

    def write(self, data: bytes) -> None:
        """Send a piece without waiting for anybody. An empty one would end the body and is left out."""
        if data and not self.gone:
            self._pending += b"%x\r\n%b\r\n" % (len(data), data)
            self._push()

    def end(self, error: Mapping[str, str] | None = None) -> None:
        """
        Finish the answer and wait until the Runtime API has it, as long as the invocation's time allows.

        Args:
            error: `errorType` and `errorMessage`, where the answer broke off.
        """
        if self.gone or self._socket is None:
            return
        self._pending += b"0\r\n" + _trailers(error) + b"\r\n"
        try:
            self._socket.settimeout(max(0.1, self._remaining_seconds() - RESERVE_SECONDS))
            self._socket.sendall(self._pending)
            # A connection closed over an unread reply is reset, and what was sent last may be lost with it.
            self._socket.settimeout(REPLY_SECONDS)
            self._socket.recv(1024)
        except OSError:
            self.gone = True
        finally:
            self._socket.close()

    def _push(self) -> None:
        try:
            while self._pending and self._socket is not None:
                del self._pending[: self._socket.send(self._pending)]
        except BlockingIOError:
            return
        except OSError:
            self._lose()

    def _lose(self) -> None:
        self.gone = True
        self._pending.clear()
        if self._socket is not None:
            self._socket.close()


def _trailers(error: Mapping[str, str] | None) -> bytes:
    if error is None:
        return b""
    body = base64.b64encode(json.dumps(error).encode())
    return (
        b"Lambda-Runtime-Function-Error-Type: %b\r\n" % error["errorType"].encode("ascii", "replace")
        + b"Lambda-Runtime-Function-Error-Body: %b\r\n" % body
    )

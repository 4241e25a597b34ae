"""The streamed response: what goes over the wire to the Runtime API, to listeners that are slow or gone."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from stream_response import Stream

REMAINING_SECONDS = 10.0


@dataclass
class Listener:
    """A Runtime API that reads when it is told to."""

    listening: socket.socket
    accepted: list[socket.socket] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listening.getsockname()[1]}"

    def accept(self) -> socket.socket:
        connection, _ = self.listening.accept()
        connection.settimeout(10)
        self.accepted.append(connection)
        return connection

    def read_all(self, connection: socket.socket) -> bytes:
        """Everything up to the end of the chunked body; then the reply is sent."""
        got = bytearray()
        while b"\r\n0\r\n" not in got[-1000:] or not got.endswith(b"\r\n\r\n"):
            data = connection.recv(1 << 16)
            if not data:
                break
            got += data
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        return bytes(got)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield (here := Listener(listening))
        for connection in here.accepted:
            connection.close()


def stream_to(address: str) -> Stream:
    return Stream(address, "r1", lambda: REMAINING_SECONDS)


def ended(listener: Listener, stream: Stream, error: dict[str, str] | None = None) -> tuple[bytes, bytes]:
    """Head and body of what the listener gets of a stream that ends now."""
    ending = threading.Thread(target=stream.end, args=(error,))
    ending.start()
    got = listener.read_all(listener.accept())
    ending.join(10)
    head, _, body = got.partition(b"\r\n\r\n")
    return head, body


def test_the_request_declares_what_the_runtime_api_asks_for(listener: Listener) -> None:
    """Issue D: response mode, chunks and the names of the trailers stand in the head; the chunks are the pieces."""
    stream = stream_to(listener.address)
    stream.begin("application/x-ndjson")
    stream.write(b"one\n")
    stream.write(b"")
    stream.write(b"two\n")
    head, body = ended(listener, stream)
    lines = head.decode().split("\r\n")

    assert "POST /2018-06-01/runtime/invocation/r1/response HTTP/1.1" == lines[0]
    assert {
        "Content-Type: application/x-ndjson",
        "Lambda-Runtime-Function-Response-Mode: streaming",
        "Transfer-Encoding: chunked",
        "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
    } <= set(lines)
    assert b"4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n" == body


def test_status_and_headers_of_a_url_come_first_and_eight_zeros_behind_them(listener: Listener) -> None:
    """Issue D: the prelude of the HTTP integration, under its own content type."""
    stream = stream_to(listener.address)
    stream.begin("application/x-ndjson", {"statusCode": 201})
    head, body = ended(listener, stream)

    assert b"Content-Type: application/vnd.awslambda.http-integration-response" in head
    assert b'1b\r\n{"statusCode": 201}' + b"\0" * 8 + b"\r\n0\r\n\r\n" == body


def test_an_error_stands_in_the_trailers(listener: Listener) -> None:
    """Issue D: behind the last chunk, its type as text and the whole as base64."""
    error = {"errorType": "ThrottlingException", "errorMessage": "Zu viele Anfragen – später"}
    stream = stream_to(listener.address)
    stream.begin("text/plain")
    stream.write(b"half")
    _, body = ended(listener, stream, error)
    trailers = dict(line.split(": ") for line in body.decode().split("0\r\n", 1)[1].strip().split("\r\n"))

    assert "ThrottlingException" == trailers["Lambda-Runtime-Function-Error-Type"]
    assert error == json.loads(base64.b64decode(trailers["Lambda-Runtime-Function-Error-Body"]))


def test_a_type_that_no_header_holds_is_spelt_in_letters_that_it_does(listener: Listener) -> None:
    """The whole error is in the other trailer."""
    stream = stream_to(listener.address)
    stream.begin("text/plain")
    _, body = ended(listener, stream, {"errorType": "Erreur\u00c9", "errorMessage": ""})

    assert b"Lambda-Runtime-Function-Error-Type: Erreur?\r\n" in body


def test_an_end_without_time_left_is_tried_all_the_same(listener: Listener) -> None:
    """P34: no time is no error of ours; what the socket takes at once arrives."""
    stream = Stream(listener.address, "r1", lambda: 0.0)
    stream.begin("text/plain")
    stream.write(b"x")
    _, body = ended(listener, stream)

    assert b"1\r\nx\r\n0\r\n\r\n" == body


def test_a_listener_who_does_not_read_holds_nobody_up(listener: Listener) -> None:
    """P20, P53: ten megabytes are written while nobody reads one byte; all of it arrives once somebody does."""
    stream = stream_to(listener.address)
    stream.begin("text/plain")
    piece = b"x" * 100_000
    for _ in range(100):
        stream.write(piece)  # a write that waited would wait for ever here
    _, body = ended(listener, stream)

    assert 100 * len(piece) == body.count(b"x")


def test_a_writer_that_waits_is_held_up(listener: Listener) -> None:
    """P20, control: the same listener, and a socket that waits, is stuck with most of it."""
    with socket.create_connection(listener.listening.getsockname()) as waiting:
        waiting.settimeout(0.2)
        with pytest.raises(TimeoutError):
            waiting.sendall(b"x" * 10_000_000)


def test_a_listener_who_is_gone_is_written_off(listener: Listener) -> None:
    """P53: the function's work goes on; nothing is raised at the writer."""
    stream = stream_to(listener.address)
    stream.begin("text/plain")
    connection = listener.accept()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not a goodbye
    connection.close()
    for _ in range(1000):
        stream.write(b"x" * 1000)
    stream.end()

    assert stream.gone


def test_a_runtime_api_that_cannot_be_reached_is_written_off() -> None:
    """P53: as above, from the first byte on."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    stream = stream_to(address)
    stream.begin("text/plain")
    stream.write(b"x")
    stream.end()

    assert (True, True) == (stream.begun, stream.gone)

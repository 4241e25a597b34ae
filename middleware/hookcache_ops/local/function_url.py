"""
A function behind its URL: an HTTP request becomes an event of payload format 2.0, the answer an HTTP response.

Source: Lambda Developer Guide, "Invoking Lambda function URLs", "Writing response streaming-enabled functions".
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hookcache_ops.local.invocation import Begin, End, Invocation, Piece, Whole
from hookcache_ops.local.wire import Connection, Head

INTEGRATION = "application/vnd.awslambda.http-integration-response"
PRELUDE_END = b"\0" * 8
_OF_THIS_CONNECTION = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive"})


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status, headers and the whole body, or the first piece of a streamed one."""

    status: int
    headers: Mapping[str, str]
    body: bytes


BAD_GATEWAY = HttpAnswer(502, {"content-type": "application/json"}, b'{"Message":"Internal Server Error"}')


def event_of(head: Head, body: bytes, request_id: str, mount: str) -> dict[str, Any]:
    """The event for a request; `mount` is the part of the path that stands for the function's own host name."""
    path = head.raw_path.removeprefix(mount) or "/"
    try:
        text, encoded = body.decode(), False
    except UnicodeDecodeError:
        text, encoded = base64.b64encode(body).decode(), True
    host = head.headers.get("host", "")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": head.raw_query,
        "headers": dict(head.headers),
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "domainName": host,
            "domainPrefix": "local",
            "http": {
                "method": head.method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": head.headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": int(time.time() * 1000),
        },
        "isBase64Encoded": encoded,
    }
    if head.raw_query:
        event["queryStringParameters"] = head.query
    if body:
        event["body"] = text
    return event


def _headers(members: Any) -> dict[str, str]:
    if not isinstance(members, dict):
        return {}
    fields = {str(name).lower(): str(value) for name, value in members.items()}
    return {name: value for name, value in fields.items() if name not in _OF_THIS_CONNECTION}


def answer_of(body: bytes) -> HttpAnswer:
    """The HTTP response for what a handler returned: as it says, or the whole as JSON with status 200."""
    try:
        members = json.loads(body)
    except ValueError:
        return BAD_GATEWAY
    if not isinstance(members, dict) or "statusCode" not in members:
        return HttpAnswer(200, {"content-type": "application/json"}, body)
    content = str(members.get("body") or "").encode()
    if members.get("isBase64Encoded"):
        content = base64.b64decode(content)
    headers = {"content-type": "application/json", **_headers(members.get("headers"))}
    return HttpAnswer(int(members["statusCode"]), headers, content)


def prelude_of(content_type: str, buffered: bytes) -> HttpAnswer | None:
    """Status, headers and first piece of a streamed answer; None while its prelude has not arrived whole."""
    if content_type != INTEGRATION:
        return HttpAnswer(200, {"content-type": content_type}, buffered)
    prelude, end, rest = buffered.partition(PRELUDE_END)
    if not end:
        return None
    members = json.loads(prelude)
    headers = {"content-type": "application/octet-stream", **_headers(members.get("headers"))}
    return HttpAnswer(int(members.get("statusCode", 200)), headers, rest)


async def serve(connection: Connection, invocation: Invocation) -> None:
    """Answer the request with what the invocation, already begun, gives."""
    match await invocation.events.get():
        case Whole(answer):
            await _reply(connection, answer_of(answer))
        case Begin(content_type):
            await _stream(connection, invocation, content_type)
        case _:
            await _reply(connection, BAD_GATEWAY)


async def _reply(connection: Connection, answer: HttpAnswer) -> None:
    await connection.reply(answer.status, answer.body, answer.headers)


async def _stream(connection: Connection, invocation: Invocation, content_type: str) -> None:
    buffered, answer = b"", None
    while isinstance(event := await invocation.events.get(), Piece):
        if answer is not None:
            await connection.send(event.data)
            continue
        buffered += event.data
        answer = prelude_of(content_type, buffered)
        if answer is not None:
            await connection.begin(answer.status, answer.headers)
            await connection.send(answer.body)
    whole = isinstance(event, End) and not event.error_type
    match answer, whole:
        case None, True:
            await _reply(connection, prelude_of(content_type, buffered) or BAD_GATEWAY)
        case None, False:
            await _reply(connection, BAD_GATEWAY)
        case _, True:
            await connection.end()
        case _, False:
            connection.cut()

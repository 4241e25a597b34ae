"""
A model behind the cache, for callers who want its words as they come and for those who want the whole answer.

    caller                                          gets
    function URL                                    a stream of JSON lines
    function URL with `Accept: application/json`    the whole answer
    InvokeWithResponseStream, client context
      {"custom": {"hookcache_stream": true}}        a stream of JSON lines
    Invoke, or no such wish                         the whole answer, as the host expects it

All of them ask under the same key. A miss is streamed as the model speaks and kept if it ended well; a hit is replayed.
The format of the lines is told in docs/streaming.md.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from backend_errors import BadRequestError
from backend_settings import choice, flag, guardrail, json_object, text
from converse_events import Event, events_of, metadata_of
from converse_source import ConverseStreamSource
from sampling import CHOICES

from hookcache.assembly import Assembly
from hookcache.backend import ClientPool
from hookcache.clock import Clock
from hookcache.errors import type_of
from hookcache.hook import CachingHook
from hookcache.package import identity_of_package
from hookcache.runtime_json import spelt
from hookcache.settings import Settings
from hookcache.value import value

LINES, WHOLE = "application/x-ndjson", "application/json"
WISH = "hookcache_stream"
CONNECT_SECONDS, READ_SECONDS = 5.0, 300.0
"""Between two words of the model; the invocation's own deadline bounds the whole."""


@value
class Call:
    """What one caller asks, and how it wants its answer."""

    request: Any
    streams: bool
    by_url: bool


def call_of(event: Any, context: Any) -> Call:
    """The call that an invocation stands for. A body that is no JSON asks for nothing, which the hook refuses."""
    http = event.get("requestContext") if isinstance(event, dict) else None
    if not isinstance(http, dict) or "http" not in http:
        client = context.client_context
        custom = client.get("custom") if isinstance(client, dict) else None
        return Call(event, isinstance(custom, dict) and custom.get(WISH) is True, by_url=False)
    body = event.get("body") or ""
    try:
        request = json.loads(base64.b64decode(body) if event.get("isBase64Encoded") else body)
    except (ValueError, RecursionError):
        request = None
    return Call(request, streams=event.get("headers", {}).get("accept", "") != WHOLE, by_url=True)


class Outlet:
    """
    Where one caller's events go, as JSON lines. The stream begins with the first event.

    `metadata` is held back for `finish`: the hook decides what usage the caller is told (P32, P33), and its arrival is the
    caller's sign that the answer is whole.
    """

    def __init__(self, stream: Any, *, by_url: bool) -> None:
        self._stream = stream
        self._by_url = by_url

    @property
    def begun(self) -> bool:
        return bool(self._stream.begun)

    def send(self, event: Event) -> None:
        """Pass an event of the source on."""
        if "metadata" not in event:
            self._line(event)

    def finish(self, response: Mapping[str, Any]) -> None:
        """Close with the answer that the hook returned: its metadata behind what was sent, or all of it as a replay."""
        for event in [metadata_of(response)] if self.begun else events_of(response):
            self._line(event)

    def break_off(self, error: Exception) -> None:
        """Tell a caller who cannot see trailers why no `metadata` will come."""
        if self.begun:
            self._line({"error": {"errorType": type(error).__name__, "errorMessage": str(error)}})

    def _line(self, event: Event) -> None:
        if not self.begun:
            begin(self._stream, LINES, by_url=self._by_url)
        self._stream.write(spelt(event) + b"\n")


def begin(stream: Any, content_type: str, *, by_url: bool, status: int = 200) -> None:
    """Start an answer; behind a function URL with status and headers of its own."""
    headers = {"Content-Type": content_type, "Cache-Control": "no-store"}
    stream.begin(content_type, {"statusCode": status, "headers": headers} if by_url else None)


class StreamFunction:
    """The handler: one hook for callers of the stream and of the whole answer."""

    def __init__(self, hook: CachingHook) -> None:
        self._hook = hook

    def __call__(self, event: Any, context: Any) -> Any:
        call, stream = call_of(event, context), context.stream
        outlet = context.outlet = Outlet(stream, by_url=call.by_url) if call.streams else None
        try:
            response = _parsed(self._hook(call.request, context))
        except Exception as error:
            if type_of(error) == BadRequestError.__name__ and call.by_url and not stream.begun:
                begin(stream, WHOLE, by_url=True, status=400)  # the caller's fault: no error of the function
                stream.write(spelt({"message": str(error)}))
                return None
            if outlet is not None:
                outlet.break_off(error)
            raise
        if outlet is not None:
            outlet.finish(response)
        elif call.by_url:
            begin(stream, WHOLE, by_url=True)
            stream.write(spelt(response))
        return response


def _parsed(response: Any) -> Any:
    """The hook gives bytes where AWS's own runtime client could not spell the answer; ours can."""
    return json.loads(response) if isinstance(response, bytes) else response


def bedrock(clock: Clock | None = None) -> Callable[[], Any]:
    """Gives the one bedrock-runtime client; its connections are not trusted after a rest, for nothing is asked twice (F32)."""
    return partial(ClientPool(_bedrock, clock), READ_SECONDS)


def _bedrock(read_seconds: float) -> Any:
    import boto3  # loaded by the first miss: no hit pays for it
    from botocore.config import Config

    limits = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"total_max_attempts": 1, "mode": "standard"},  # an attempt that was lost on the way may be paid for
        tcp_keepalive=True,
    )
    return boto3.client("bedrock-runtime", config=limits)


def function(environ: Mapping[str, str]) -> StreamFunction:
    """
    The function that an environment describes; `app` lists its variables.

    Raises:
        SettingsError, ConfigurationError: a setting is missing or wrong; the message names it and the remedy (P52).
    """
    chosen: dict[str, Any] = {
        "model": text(environ, "TARGET_MODEL_ID"),
        "sampling": choice(environ, "SAMPLING", CHOICES),
        "cache_points": flag(environ, "CACHE_POINTS", default=True),
        "guardrail": guardrail(environ),
        "fields": json_object(environ, "MODEL_FIELDS"),
    }
    assembly = Assembly(Settings.of(environ), environ)

    def request_of(event: Any) -> Mapping[str, Any]:
        from converse_request import converse_request  # loaded by the first miss: no hit pays for it
        from page_images import fetch

        if not isinstance(event, dict):
            raise BadRequestError("send a JSON object with `messages`, as the host sends it to a LambdaHook function")
        return converse_request(event, lambda block: fetch(assembly.clients.s3(), block), **chosen)

    prose = choice(environ, "ERROR_DETAIL", ("type", "full")) == "full"
    source = ConverseStreamSource(bedrock(), request_of, prose=prose)
    return StreamFunction(assembly.hook(source, identity_of_package(ConverseStreamSource.invoke, environ)))

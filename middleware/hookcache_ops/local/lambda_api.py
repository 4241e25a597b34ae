"""
The Lambda API as far as callers of functions use it: Invoke, InvokeWithResponseStream, GetFunction[Configuration],
and functions behind a URL below `/url/{name}/`.

Statuses, error names and limits are AWS's; a client built by boto3 cannot tell the difference in what it reads.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hookcache_ops.local import eventstream, function_url
from hookcache_ops.local.function import Reference, Revision
from hookcache_ops.local.invocation import (
    ANSWER_BYTES,
    EVENT_BYTES,
    SYNC_BYTES,
    Begin,
    End,
    Failure,
    Invocation,
    Piece,
    Whole,
)
from hookcache_ops.local.log import tail
from hookcache_ops.local.pool import Pool
from hookcache_ops.local.runtime_api import TOO_LARGE
from hookcache_ops.local.wire import Connection, Head

CLIENT_CONTEXT_BYTES = 3583
THROTTLED = {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "Type": "User", "message": "Rate Exceeded."}


@dataclass(frozen=True, slots=True)
class ApiError(Exception):
    """A refusal by Lambda itself: the function was not run."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Target:
    """What a caller's FunctionName stands for: a pool, one revision of it, and the ARN in the caller's form."""

    pool: Pool
    revision: Revision
    arn: str


def _refuse(text: str) -> None:
    raise ValueError(text)


def check_json(body: bytes) -> None:
    """Refuse what AWS's parser refuses, NaN and Infinity among it; how large a number is does not matter to it."""
    try:
        json.loads(body, parse_constant=_refuse, parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        message = f"Could not parse request body into json: {error}"
        raise ApiError(400, "InvalidRequestContentException", message) from error


def _client_context(encoded: str) -> dict[str, Any] | None:
    if len(encoded) > CLIENT_CONTEXT_BYTES:
        return None
    try:
        context = json.loads(base64.b64decode(encoded, validate=True))
    except (ValueError, binascii.Error):
        return None
    return context if isinstance(context, dict) else None


def client_context_of(headers: Mapping[str, str]) -> str | None:
    """The caller's client context as the runtime gets it: JSON in one line of ASCII, or None."""
    encoded = headers.get("x-amz-client-context")
    if not encoded:
        return None
    if (context := _client_context(encoded)) is None:
        message = "Client context must be a valid Base64-encoded JSON object."
        raise ApiError(400, "InvalidRequestContentException", message)
    return json.dumps(context)


def log_headers(head: Head, invocation: Invocation) -> dict[str, str]:
    if head.headers.get("x-amz-log-type") != "Tail":
        return {}
    return {"x-amz-log-result": base64.b64encode(tail(iter(invocation.lines))).decode()}


@dataclass(slots=True)
class LambdaApi:
    """The front of the service. `pools` is shared with the service, which adds functions to it."""

    region: str
    account: str
    pools: dict[str, Pool] = field(default_factory=dict)

    async def answer(self, connection: Connection, head: Head) -> None:
        """Answer one request; the shape of a `wire.Handler`."""
        body, length = await connection.body(SYNC_BYTES)
        try:
            await self._route(connection, head, body, length)
        except ApiError as error:
            members = {"Type": "User", "Message": error.message, "message": error.message}
            if error.status == 429:
                members = THROTTLED
            await connection.reply_json(error.status, members, {"x-amzn-errortype": error.code})

    async def _route(self, connection: Connection, head: Head, body: bytes, length: int) -> None:
        match (head.method, *head.parts):
            case ("POST", "2015-03-31", "functions", name, "invocations"):
                await self._invoke(connection, head, name, body, length)
            case ("POST", "2021-11-15", "functions", name, "response-streaming-invocations"):
                await self._invoke_stream(connection, head, name, body, length)
            case ("GET", "2015-03-31", "functions", name, "configuration"):
                target = self.find(name, head.query.get("Qualifier"))
                await connection.reply_json(200, target.revision.configuration(target.arn), {})
            case ("GET", "2015-03-31", "functions", name):
                await self._get_function(connection, head, name)
            case (_, "url", name, *_):
                await self._call_url(connection, head, name, body, length)
            case _:
                message = f"not served locally: {head.method} {head.raw_path}"
                raise ApiError(404, "UnknownOperationException", message)

    def arn(self, name: str, qualifier: str | None = None) -> str:
        """The function's ARN, qualified as asked."""
        suffix = f":{qualifier}" if qualifier else ""
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{name}{suffix}"

    def find(self, name: str, qualifier: str | None = None) -> Target:
        """
        The function that a caller names.

        Raises:
            ApiError: malformed, of another region or account, or not there.
        """
        try:
            reference = Reference.parse(name, qualifier)
        except ValueError as error:
            raise ApiError(400, "InvalidParameterValueException", str(error)) from error
        arn = self.arn(reference.name, reference.qualifier)
        if reference.region not in (None, self.region):
            message = f"Functions from '{reference.region}' are not reachable in this region ('{self.region}')"
            raise ApiError(404, "ResourceNotFoundException", message)
        if reference.account not in (None, self.account):
            raise ApiError(403, "AccessDeniedException", f"not authorized to act on a function of {reference.account}")
        pool = self.pools.get(reference.name)
        revision = pool.deployment.find(reference.qualifier) if pool else None
        if pool is None or revision is None:
            raise ApiError(404, "ResourceNotFoundException", f"Function not found: {arn}")
        return Target(pool, revision, arn)

    # -- operations

    async def _get_function(self, connection: Connection, head: Head, name: str) -> None:
        target = self.find(name, head.query.get("Qualifier"))
        members: dict[str, Any] = {
            "Configuration": target.revision.configuration(target.arn),
            "Code": {"RepositoryType": "S3", "Location": target.revision.function.folder.as_uri()},
            "Concurrency": {"ReservedConcurrentExecutions": target.pool.concurrency},
        }
        await connection.reply_json(200, members, {})

    async def _invoke(self, connection: Connection, head: Head, name: str, body: bytes, length: int) -> None:
        kind = head.headers.get("x-amz-invocation-type", "RequestResponse")
        target, invocation = self._prepare(head, name, body, length, kind)
        if kind == "DryRun":
            await connection.reply(204)
            return
        headers = {"x-amzn-requestid": invocation.request_id, "x-amz-executed-version": target.revision.version}
        if kind == "Event":
            target.pool.queue(target.revision, invocation)
            await connection.reply(202, b"", headers)
            return
        self._begin(target, invocation)
        ending = await self._gather(invocation)
        headers |= {"content-type": "application/json", **log_headers(head, invocation)}
        if isinstance(ending, Failure):
            headers["x-amz-function-error"] = "Unhandled"
        await connection.reply(200, ending.body, headers)

    async def _invoke_stream(self, connection: Connection, head: Head, name: str, body: bytes, length: int) -> None:
        target, invocation = self._prepare(head, name, body, length, "RequestResponse")
        if head.headers.get("x-amz-invocation-type") == "DryRun":
            await connection.reply(204)
            return
        self._begin(target, invocation)
        event = await invocation.events.get()
        content_type = event.content_type if isinstance(event, Begin) else "application/json"
        headers = {
            "content-type": "application/vnd.amazon.eventstream",
            "x-amzn-requestid": invocation.request_id,
            "x-amz-executed-version": target.revision.version,
            "x-amzn-remapped-content-type": content_type,
        }
        await connection.begin(200, headers)
        complete: dict[str, str] = {}
        while True:
            match event:
                case Piece(data):
                    await connection.send(eventstream.payload_chunk(data))
                case Whole(data):
                    await connection.send(eventstream.payload_chunk(data))
                    break
                case Failure(details):
                    error_type = json.loads(details or b"{}").get("errorType") or "Unhandled"
                    complete = {"ErrorCode": error_type, "ErrorDetails": details.decode("utf-8", "replace")}
                    break
                case End(error_type, details_text):
                    complete = {"ErrorCode": error_type, "ErrorDetails": details_text} if error_type else {}
                    break
            event = await invocation.events.get()
        if log := log_headers(head, invocation):
            complete["LogResult"] = log["x-amz-log-result"]
        await connection.send(eventstream.invoke_complete(complete))
        await connection.end()

    async def _call_url(self, connection: Connection, head: Head, name: str, body: bytes, length: int) -> None:
        target = self.find(name)
        self._check_size(length, "RequestResponse")
        invocation = Invocation(target.arn, b"")
        event = function_url.event_of(head, body, invocation.request_id, f"/url/{head.raw_path.split('/')[2]}")
        invocation.payload = json.dumps(event).encode()
        self._begin(target, invocation)
        await function_url.serve(connection, invocation)

    # -- steps

    def _check_size(self, length: int, kind: str) -> None:
        limit = EVENT_BYTES if kind == "Event" else SYNC_BYTES
        if length > limit:
            message = f"{length} byte payload is too large for the {kind} invocation type (limit {limit} bytes)"
            raise ApiError(413, "RequestTooLargeException", message)

    def _prepare(self, head: Head, name: str, body: bytes, length: int, kind: str) -> tuple[Target, Invocation]:
        target = self.find(name, head.query.get("Qualifier"))
        self._check_size(length, kind)
        payload = body or b"{}"
        check_json(payload)
        context = client_context_of(head.headers)
        # Source: AWS Lambda API Reference, "Invoke", `ClientContext`: passed to the function for synchronous invocations only.
        return target, Invocation(target.arn, payload, None if kind == "Event" else context)

    def _begin(self, target: Target, invocation: Invocation) -> None:
        if not target.pool.invoke(target.revision, invocation):
            raise ApiError(429, "TooManyRequestsException", "Rate Exceeded.")

    async def _gather(self, invocation: Invocation) -> Whole | Failure:
        """The answer as Invoke gives it: a streamed one is collected first."""
        collected = bytearray()
        while True:
            match await invocation.events.get():
                case Piece(data):
                    collected += data
                case Whole() | Failure() as ending:
                    return ending
                case End("", _):
                    if len(collected) > ANSWER_BYTES:
                        return Failure.of("Function.ResponseSizeTooLarge", TOO_LARGE)
                    return Whole(bytes(collected))
                case End(error_type, error_body):
                    return Failure(error_body.encode()) if error_body else Failure.of(error_type, "")

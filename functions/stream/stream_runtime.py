"""
A Lambda runtime for Python whose handlers may stream. Started by `stream_wrapper` in place of AWS's own runtime client.

    ask for the next invocation -> handler(event, context) -> its answer -> and again, while the environment lives

What a handler returns is the answer, unless it has begun `context.stream`: then the answer is what it wrote there. An
exception is reported either way: as the invocation's error, or, behind a begun answer, in its trailers.

Source: Lambda Developer Guide, "Using the Lambda runtime API for custom runtimes". Not done here, since nothing of ours
needs it: Cognito identities, tenants, JSON log format, SnapStart hooks.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from stream_response import Stream

ROOT = "/2018-06-01/runtime"
MESSAGE_LETTERS = 2_000
"""So much of an error's message is reported: trailers are headers, and those are kept short."""

Handler = Callable[[Any, "Context"], Any]


class Invocation:
    """What the Runtime API gave."""

    def __init__(self, payload: bytes, headers: Mapping[str, str]) -> None:
        self.payload = payload
        self.headers = headers

    @property
    def request_id(self) -> str:
        return self.headers["lambda-runtime-aws-request-id"]


class RuntimeApi:
    """The Runtime API at `address`, host and port. A connection is made per call: a frozen one cannot be trusted."""

    def __init__(self, address: str) -> None:
        self.address = address

    def next(self) -> Invocation:
        """Wait for an invocation, as long as it takes."""
        status, headers, body = self._ask("GET", f"{ROOT}/invocation/next")
        if status != 200:
            raise RuntimeError(f"the Runtime API gave no invocation but status {status}")
        return Invocation(body, headers)

    def answer(self, request_id: str, body: bytes) -> None:
        """The whole answer."""
        self._ask("POST", f"{ROOT}/invocation/{request_id}/response", body, {"Content-Type": "application/json"})

    def refuse(self, request_id: str, error: Mapping[str, str]) -> None:
        """The invocation's error; only while no answer was begun."""
        self._report(f"{ROOT}/invocation/{request_id}/error", error)

    def refuse_start(self, error: Mapping[str, str]) -> None:
        """The function cannot be started."""
        self._report(f"{ROOT}/init/error", error)

    def _report(self, path: str, error: Mapping[str, str]) -> None:
        headers = {
            "Content-Type": "application/vnd.aws.lambda.error+json",
            "Lambda-Runtime-Function-Error-Type": error["errorType"].encode("ascii", "replace").decode(),
        }
        self._ask("POST", path, json.dumps(error).encode(), headers)

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.address)
        try:
            connection.request(method, path, body, dict(headers or {}))
            reply = connection.getresponse()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
        finally:
            connection.close()


class Context:
    """What a handler is told of its invocation, under the names of AWS's own Python context, and where it may stream."""

    def __init__(self, api: str, invocation: Invocation, environ: Mapping[str, str] = os.environ) -> None:
        headers = invocation.headers
        self._deadline_ms = int(headers.get("lambda-runtime-deadline-ms", "0"))
        self.aws_request_id = invocation.request_id
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn", "")
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
        self.client_context = _parsed(headers.get("lambda-runtime-client-context", ""))
        self.stream = Stream(api, self.aws_request_id, lambda: self.get_remaining_time_in_millis() / 1000)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is killed; 0 means none."""
        return max(0, self._deadline_ms - int(time.time() * 1000))


def serve(api: RuntimeApi, handler: Handler, invocation: Invocation) -> None:
    """One invocation, to its end. Raises only what ends the process."""
    if trace := invocation.headers.get("lambda-runtime-trace-id"):
        os.environ["_X_AMZN_TRACE_ID"] = trace
    context = Context(api.address, invocation)
    stream = context.stream
    try:
        answer = handler(json.loads(invocation.payload), context)
        body = b"" if stream.begun else answer if isinstance(answer, bytes) else _marshalled(answer)
    except Exception as raised:
        error = told(raised)
        _log(f"{context.aws_request_id} {error['errorType']}: {error['errorMessage']}", raised)
        if stream.begun:
            stream.end(error)
        else:
            api.refuse(context.aws_request_id, error)
        return
    if stream.begun:
        stream.end()
    else:
        api.answer(context.aws_request_id, body)


def told(error: BaseException) -> dict[str, str]:
    """An error as callers of Lambda functions get it; the stack is for the log alone."""
    return {"errorType": type(error).__name__, "errorMessage": str(error)[:MESSAGE_LETTERS]}


def _parsed(text: str) -> Any:
    """A caller's client context; what is no JSON is none (B21)."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def _log(line: str, error: BaseException) -> None:
    import traceback  # 3 ms, paid by whoever fails

    stack = "".join(traceback.format_tb(error.__traceback__))  # places in the code, no values
    print(f"[ERROR] {line}\n{stack}", end="", file=sys.stderr, flush=True)


def _marshalled(answer: Any) -> bytes:
    try:
        return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # a lone surrogate has no form in UTF-8, and an escape in JSON
        return json.dumps(answer, separators=(",", ":")).encode()


def handler_named(name: str) -> Handler:
    """The handler that `_HANDLER` names: `module.attribute`."""
    module, _, attribute = name.rpartition(".")
    handler: Handler = getattr(importlib.import_module(module), attribute)
    return handler


def main() -> int:
    """Serve until the platform ends the process; 1 where the function cannot be started."""
    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        handler = handler_named(os.environ["_HANDLER"])
    except Exception as error:
        _log(f"the function cannot be started: {type(error).__name__}: {error}", error)
        api.refuse_start(told(error))
        return 1
    while True:
        serve(api, handler, api.next())


if __name__ == "__main__":
    sys.exit(main())

"""
One execution environment: a runtime process and the Runtime API that it polls.

The process is AWS's own runtime client, `awslambdaric`, or whatever command the function names. It asks for the next
invocation, answers it, and asks again; the environment is warm while it does.
Source: Lambda Developer Guide, "Using the Lambda runtime API for custom runtimes".
"""

import asyncio
import base64
import binascii
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil

from hookcache_ops.local.function import Revision
from hookcache_ops.local.invocation import ANSWER_BYTES, Begin, End, Ending, Failure, Invocation, Piece, Whole
from hookcache_ops.local.log import FunctionLog
from hookcache_ops.local.runtime_process import RuntimeProcess
from hookcache_ops.local.wire import Connection, Head, Server

INIT_SECONDS = 10.0  # what AWS grants a start; one that takes longer goes on at the cost of the invocation
DRAIN_SECONDS = 1.0  # for what a process had sent before it ended; a child of it may hold its connections open
TOO_LARGE = f"Response payload size exceeded maximum allowed payload size ({ANSWER_BYTES} bytes)."


class EnvironmentGone(Exception):
    """A warm environment ended before it took the invocation: nothing was run, another may take it."""


@dataclass(slots=True, eq=False)
class Environment:
    """
    One process for one invocation at a time.

    Args:
        revision: what it runs.
        variables: of the process, complete except for the Runtime API's address.
        log: of the function.
    """

    revision: Revision
    variables: Mapping[str, str]
    log: FunctionLog
    stopping: bool = False
    _process: RuntimeProcess = field(init=False)
    _server: Server = field(init=False)
    _inbox: asyncio.Queue[Invocation] = field(default_factory=asyncio.Queue)
    _taken: asyncio.Event = field(default_factory=asyncio.Event)
    _current: Invocation | None = None
    _cold: bool = True
    _init_failure: Failure | None = None
    _started: float = field(default_factory=time.monotonic)
    _init_ms: float | None = None

    def __post_init__(self) -> None:
        self._process = RuntimeProcess(self._write)
        self._server = Server(self._answer)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not (self.stopping or self._process.gone.is_set())

    async def start(self) -> None:
        """Start the process; its first imports go on after this returns."""
        await self._server.start()
        function = self.revision.function
        variables = {**self.variables, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.port}"}
        try:
            await self._process.start(function.runtime_command, function.folder, variables)
        except OSError:
            await self._server.stop()
            raise

    async def run(self, invocation: Invocation) -> None:
        """
        Give the invocation to the runtime and see it to its ending, which closes `invocation.events`.

        Raises:
            EnvironmentGone: the process had ended before; the invocation was not begun.
        """
        cold, self._cold = self._cold, False
        self._current = invocation
        self._inbox.put_nowait(invocation)
        try:
            seconds = self.revision.function.timeout_seconds
            if await self._occurs(self._taken, INIT_SECONDS + seconds):
                if not await self._occurs(invocation.ended, seconds) and self._process.gone.is_set():
                    await self._server.drain(DRAIN_SECONDS)
            elif not cold and self._process.gone.is_set():
                raise EnvironmentGone
            ending = invocation.ending or await self._unfinished(invocation)
            self._process.collect()
            self._report(invocation, self._init_ms if cold else None)
        finally:
            self._taken.clear()
            self._current = None
        if self._process.gone.is_set():
            await self._server.stop()
        invocation.events.put_nowait(ending)

    async def stop(self) -> None:
        """Kill the process with all its children and close its Runtime API."""
        self.stopping = True
        await self._process.stop()
        await self._server.stop()

    async def _occurs(self, event: asyncio.Event, seconds: float) -> bool:
        """Whether `event` occurs before the process ends and within `seconds`."""
        waits = [asyncio.create_task(event.wait()), asyncio.create_task(self._process.gone.wait())]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:  # the service may be stopped meanwhile
            for wait in waits:
                wait.cancel()
        return event.is_set()

    async def _unfinished(self, invocation: Invocation) -> Failure:
        """The ending of an invocation that the runtime did not end: it exited, or its time is over."""
        if not self._process.gone.is_set():
            seconds = self.revision.function.timeout_seconds
            await self.stop()
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            self._write(f"{now} {invocation.request_id} Task timed out after {seconds:.2f} seconds")
            message = f"RequestId: {invocation.request_id} Error: Task timed out after {seconds:.2f} seconds"
            return Failure.of("Sandbox.Timedout", message)
        if self._init_failure is not None:
            return self._init_failure
        how = self._process.how_it_ended()
        message = f"RequestId: {invocation.request_id} Error: Runtime exited with error: {how}"
        return Failure.of("Runtime.ExitError", message)

    def _write(self, line: str) -> None:
        self.log.write(line)
        if self._current is not None:
            self._current.lines.append(line)

    def _report(self, invocation: Invocation, init_ms: float | None) -> None:
        took_ms = (time.time() - invocation.dispatched) * 1000 if invocation.dispatched else 0.0
        report = [
            f"REPORT RequestId: {invocation.request_id}",
            f"Duration: {took_ms:.2f} ms",
            f"Billed Duration: {ceil(took_ms + (init_ms or 0.0))} ms",
            f"Memory Size: {self.revision.function.memory_mb} MB",
            f"Max Memory Used: {self._process.peak_mb()} MB",
            *([f"Init Duration: {init_ms:.2f} ms"] if init_ms is not None else []),
        ]
        self._write(f"END RequestId: {invocation.request_id}")
        self._write("\t".join(report) + "\t")

    # -- the Runtime API

    async def _answer(self, connection: Connection, head: Head) -> None:
        match (head.method, *head.parts[2:]):
            case ("GET", "invocation", "next"):
                await self._next(connection)
            case ("POST", "invocation", request_id, "response"):
                await self._response(connection, head, request_id)
            case ("POST", "invocation", request_id, "error"):
                body, _ = await connection.body(ANSWER_BYTES)
                await self._accept(connection, request_id, Failure(body))
            case ("POST", "init", "error"):
                body, _ = await connection.body(ANSWER_BYTES)
                self._init_failure = Failure(body)
                await connection.reply_json(202, {"status": "OK"}, {})
            case _:
                await connection.body(0)
                await connection.reply(404)

    async def _next(self, connection: Connection) -> None:
        await connection.body(0)
        if self._init_ms is None:
            self._init_ms = (time.monotonic() - self._started) * 1000
        invocation = await self._inbox.get()
        if connection.left:
            # A runtime that died while it waited: what it can no longer take must not count as begun.
            self._inbox.put_nowait(invocation)
            return
        invocation.dispatched = time.time()
        self._write(f"START RequestId: {invocation.request_id} Version: {self.revision.version}")
        deadline_ms = int((invocation.dispatched + self.revision.function.timeout_seconds) * 1000)
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{invocation.request_id[-12:]:0>24};Sampled=0",
        }
        if invocation.client_context is not None:
            headers["Lambda-Runtime-Client-Context"] = invocation.client_context
        self._taken.set()
        await connection.reply(200, invocation.payload, headers)

    async def _response(self, connection: Connection, head: Head, request_id: str) -> None:
        if head.headers.get("lambda-runtime-function-response-mode") == "streaming":
            await self._stream(connection, head, request_id)
            return
        body, length = await connection.body(ANSWER_BYTES)
        # AWS's reply to the runtime in this case is not established; with 202 the environment stays warm.
        ending = Failure.of("Function.ResponseSizeTooLarge", TOO_LARGE) if length > ANSWER_BYTES else Whole(body)
        await self._accept(connection, request_id, ending)

    async def _stream(self, connection: Connection, head: Head, request_id: str) -> None:
        invocation = self._current
        if invocation is None or invocation.request_id != request_id:
            await connection.body(0)
            await self._refuse(connection)
            return
        invocation.events.put_nowait(Begin(head.headers.get("content-type", "application/octet-stream")))
        while isinstance(piece := await connection.chunk(), bytes):
            invocation.events.put_nowait(Piece(piece))
        error_type = piece.get("lambda-runtime-function-error-type", "")
        encoded = piece.get("lambda-runtime-function-error-body", "")
        try:
            error_body = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            error_body = encoded
        await self._accept(connection, request_id, End(error_type, error_body))

    async def _accept(self, connection: Connection, request_id: str, ending: Ending) -> None:
        invocation = self._current
        if invocation is None or invocation.request_id != request_id:
            await self._refuse(connection)
            return
        await connection.reply_json(202, {"status": "OK"}, {})
        invocation.end(ending)

    async def _refuse(self, connection: Connection) -> None:
        error = {"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"}
        await connection.reply_json(400, error, {})

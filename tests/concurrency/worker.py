"""
A process that calls the real hook, as one execution environment: real boto3 clients, a real table, a backend elsewhere.

Started by `Fleet` through a fork server, so that a hundred of them cost little; driven through a pipe.
"""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from multiprocessing.connection import Connection
from typing import Any

from fakes import FakeContext, ocr_event
from hookcache.assembly import Assembly
from hookcache.breaker import Breaker
from hookcache.clients import Clients
from hookcache.clock import SystemClock
from hookcache.items import Items
from hookcache.settings import Settings

FUNCTION = "GENAIIDP-backend"
PATIENCE_SECONDS = 10.0


class CounterBackend:
    """Stands where the Lambda client does: each invocation is a connection to the counter in the test's process."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self, read_seconds: float) -> CounterBackend:
        return self

    def invoke(self, **arguments: Any) -> dict[str, Any]:
        with socket.create_connection(("127.0.0.1", self._port), timeout=60) as line:
            line.sendall(json.dumps({"pid": os.getpid(), "payload": arguments["Payload"].decode()}).encode() + b"\n")
            reply = b"".join(iter(lambda: line.recv(65536), b""))
        return {"StatusCode": 200, "Payload": io.BytesIO(reply), "ExecutedVersion": ""}


class CountingTable:
    """The table's client, with a count of reads."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.reads = 0

    def get_item(self, **arguments: Any) -> Any:
        self.reads += 1
        return self._client.get_item(**arguments)

    def at_once(self, operation: str, arguments: Any, seconds: float) -> Any:
        reply = self._client.at_once(operation, arguments, seconds) if hasattr(self._client, "at_once") else None
        self.reads += operation == "get_item" and reply is not None
        return reply

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._client, operation)


class Receipts(io.TextIOBase):
    """Standard output: counts how invocations ended, and why."""

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.startswith("{"):
                receipt = json.loads(line)
                self.endings[f"{receipt['outcome']} {receipt['reason']}".strip()] += 1
        return len(text)


class WorkerClients(Clients):
    def __init__(self, port: int) -> None:
        super().__init__()
        self.lambda_by_timeout = CounterBackend(port)  # type: ignore[assignment]
        self._counting: CountingTable | None = None

    def dynamodb(self) -> Any:
        with self._lock:
            if self._counting is None:
                limits = {"connect_timeout": PATIENCE_SECONDS, "read_timeout": PATIENCE_SECONDS}
                self._counting = CountingTable(self._client("dynamodb", attempts=1, **limits))
            return self._counting


def main(pipe: Connection, environ: dict[str, str], port: int, skew_ms: int) -> None:
    """Build the hook, say `ready`, then make calls as the pipe orders until it closes."""
    os.environ.update(environ)
    sys.stdout = receipts = Receipts()
    clients = WorkerClients(port)
    assembly = Assembly(Settings.of(environ), environ, clients)
    assembly.items.close()
    # A busy test machine is no table that is down: what is proved here holds while the table answers (P23).
    assembly.items = Items(
        clients.dynamodb, environ["HOOKCACHE_TABLE"], Breaker(SystemClock()), assembly.spending, 20.0
    )
    hook = assembly.hook(assembly.lambda_backend())
    cache = assembly.cache()
    assert cache is not None
    cache.flights._book.skew_ms = skew_ms  # type: ignore[union-attr]
    assembly.items.get(b"warm up", "NOTHING")
    pipe.send("ready")
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            os._exit(0)
        threading.Thread(target=_round, args=(pipe, hook, clients, receipts, order), daemon=True).start()


def _round(pipe: Connection, hook: Any, clients: WorkerClients, receipts: Receipts, order: dict[str, Any]) -> None:
    """`callers` calls at once; one message with what each got."""
    results: list[dict[str, Any]] = []
    before = clients.dynamodb().reads
    gate = threading.Barrier(order["callers"])

    def call() -> None:
        gate.wait()
        began = time.perf_counter()
        result: dict[str, Any] = {}
        try:
            answer = hook(ocr_event(text=order["text"]), FakeContext(SystemClock(), seconds=order.get("seconds", 60.0)))
            result["call"] = answer["made_by_call"]
        except Exception as error:
            result["error"] = f"{type(error).__name__}: {error}"
        result["took"] = time.perf_counter() - began
        results.append(result)

    threads = [threading.Thread(target=call) for _ in range(order["callers"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    endings, receipts.endings = dict(receipts.endings), Counter()
    reads = clients.dynamodb().reads - before
    pipe.send({"results": results, "reads": reads, "endings": endings, "ended": time.time()})

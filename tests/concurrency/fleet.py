"""Real processes around one real table: workers, the backend that counts its calls, and the table as a referee sees it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socketserver
import subprocess
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config

from concurrency import worker
from hookcache.breaker import Breaker
from hookcache.clock import SystemClock
from hookcache.entry import Entry, Fence
from hookcache.items import Conflict, Items
from hookcache.key import CacheKey, Keyer, Secrets
from hookcache.lease import LeaseBook, LeaseItem
from hookcache.sealer import Sealer
from hookcache.spending import Spending
from hookcache.table import NEWER_FENCE_ONLY
from hookcache_ops.local.aws import TABLE
from ops.local_rig import CREDENTIALS
from waiting import eventually

SECRET = "a secret for the proofs with processes"
PATIENCE_SECONDS = 60.0


class Backend:
    """
    The backend: every invocation is counted, takes `seconds`, and says in its answer the how manieth it was.

    `arrived` is released at each call, so that a test can act while one is under way; with `gate` closed (cleared) calls
    stay under way until it is opened.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls: list[dict[str, Any]] = []
        self.arrived = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()
        backend = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                asked = json.loads(self.rfile.readline())
                event = json.loads(asked["payload"])
                text = event["messages"][0]["content"][0]["text"]
                with backend._lock:
                    number = len(backend.calls)
                    backend.calls.append({"pid": asked["pid"], "text": text, "at": time.time()})
                    seconds = backend.seconds
                backend.arrived.release()
                backend.gate.wait(PATIENCE_SECONDS)
                time.sleep(seconds)
                answer = {
                    "output": {"message": {"role": "assistant", "content": [{"text": "what the page says"}]}},
                    "usage": {"pages": 1},
                    "made_by_call": number,
                }
                with suppress(OSError):  # who asked may be dead
                    self.wfile.write(json.dumps(answer).encode())

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 256

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def calls_for(self, text: str) -> list[dict[str, Any]]:
        with self._lock:
            return [call for call in self.calls if text in call["text"]]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Worker:
    """One process."""

    def __init__(self, process: Any, pipe: Any) -> None:
        self._process = process
        self._pipe = pipe

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def order(self, text: str, callers: int = 1, **more: Any) -> None:
        self._pipe.send({"text": text, "callers": callers, **more})

    def told(self, within_seconds: float = PATIENCE_SECONDS) -> Any:
        """The next message. An error where none comes."""
        if not self._pipe.poll(within_seconds):
            raise AssertionError(f"process {self.pid} said nothing for {within_seconds:g} s")
        return self._pipe.recv()

    def signal(self, number: signal.Signals) -> None:
        """Send it; and where it stops the process, return once it has stopped: until then it runs on."""
        os.kill(self.pid, number)
        if number == signal.SIGSTOP:
            assert eventually(lambda: _state(self.pid) == "T")

    def end(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()


class Fleet:
    """
    Workers over the table at `url`.

    Args:
        lease_seconds, wait_seconds, skew_ms: scaled down, so that a proof takes seconds.
    """

    def __init__(self, url: str, lease_seconds: float = 30.0, wait_seconds: float = 45.0, skew_ms: int = 0) -> None:
        self.url, self.lease_seconds, self.skew_ms = url, lease_seconds, skew_ms
        self.backend = Backend()
        self.environ = {
            "AWS_ENDPOINT_URL_DYNAMODB": url,
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": CREDENTIALS["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": CREDENTIALS["aws_secret_access_key"],
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOOKCACHE_BACKEND": worker.FUNCTION,
            "HOOKCACHE_TABLE": TABLE,
            "HOOKCACHE_SECRET": SECRET,
            "HOOKCACHE_IDENTITY": "pinned",
            "HOOKCACHE_LEASE_SECONDS": str(lease_seconds),
            "HOOKCACHE_WAIT_SECONDS": str(wait_seconds),
        }
        once = Config(retries={"total_max_attempts": 1})
        self.client = boto3.client("dynamodb", "us-east-1", endpoint_url=url, config=once, **CREDENTIALS)
        self.items = Items(lambda: self.client, TABLE, Breaker(SystemClock()), Spending(), budget_seconds=10.0)
        secrets = Secrets.derive(SECRET.encode())
        self.sealer = Sealer(secrets.tags, Keyer(secrets, "default").namespace)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["concurrency.worker"])
        self._workers: list[Worker] = []

    def workers(self, number: int) -> list[Worker]:
        """So many new processes, ready to call."""
        started = []
        for _ in range(number):
            ours, theirs = self._context.Pipe()
            told = (theirs, self.environ, self.backend.port, self.skew_ms)
            process = self._context.Process(target=worker.main, args=told, daemon=True)
            process.start()
            theirs.close()
            started.append(Worker(process, ours))
        self._workers += started
        for each in started:
            assert "ready" == each.told()
        return started

    def stored(self) -> dict[CacheKey, Entry]:
        """Every entry in the table, opened and verified."""
        found = {}
        for item in self._scan("ENTRY"):
            opened = self.sealer.open(item["pk"]["B"], item, lambda name, size: b"")
            if isinstance(opened, Entry):
                found[opened.key] = opened
        return found

    def leases(self) -> dict[CacheKey, LeaseItem]:
        return {item["pk"]["B"]: LeaseItem.decode(item) for item in self._scan("LEASE")}

    def _scan(self, kind: str) -> list[Any]:
        pages = self.client.get_paginator("scan").paginate(TableName=TABLE, ConsistentRead=True)
        return [item for page in pages for item in page["Items"] if item["kind"]["S"] == kind]

    def clear(self) -> None:
        """An empty table."""
        for page in self.client.get_paginator("scan").paginate(TableName=TABLE, ConsistentRead=True):
            for item in page["Items"]:
                self.client.delete_item(TableName=TABLE, Key={name: item[name] for name in ("pk", "kind")})

    def erase(self, key: CacheKey, *, fenced: bool = True) -> None:
        """As docs/protocol.md has it. `fenced=False` is the control: it deletes and leaves nothing behind."""
        if not fenced:
            self.client.delete_item(TableName=TABLE, Key={"pk": {"B": key}, "kind": {"S": "ENTRY"}})
            return
        book = LeaseBook(self.items, SystemClock(), self.lease_seconds)
        above = Fence(0)
        for _ in range(5):
            fence = book.fence_off(key, above)
            item = self.sealer.tombstone(key, fence, int(time.time()) + 86_400)
            refused = self.items.put(item, NEWER_FENCE_ONLY, {":mine": {"N": str(fence)}})
            if not isinstance(refused, Conflict):
                return
            assert refused.old is not None
            above = Fence(int(refused.old["fence"]["N"]))
        raise AssertionError("the entry moved at every try")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._workers:
            each.end()
        self.backend.close()
        self.items.close()


def _state(pid: int) -> str:
    """`T` for a stopped process, as `ps` and Linux have it."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        return stat.read_text().rpartition(")")[2].split()[0]
    return subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()[:1]


def a_text() -> str:
    """A prompt that nobody has sent before: a key of its own."""
    return f"Read page {uuid.uuid4().hex}"

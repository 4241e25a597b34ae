"""A process whose callers ask for keys as they are told, with a clock that can be put on: one execution environment."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections import Counter
from multiprocessing.connection import Connection
from typing import Any

from concurrency.worker import Receipts, WorkerClients
from fakes import FakeContext, ocr_event
from hookcache.assembly import Assembly
from hookcache.breaker import Breaker
from hookcache.clock import SystemClock
from hookcache.items import Items
from hookcache.settings import Settings


class AheadClock(SystemClock):
    """The machine's clock, put on by `ahead_ms`."""

    ahead_ms = 0

    def now_ms(self) -> Any:
        return super().now_ms() + self.ahead_ms


def main(pipe: Connection, environ: dict[str, str], port: int) -> None:
    """Build the hook, say `ready`, then play one phase after the other until the pipe closes."""
    os.environ.update(environ)
    sys.stdout = receipts = Receipts()
    clients, clock = WorkerClients(port), AheadClock()
    assembly = Assembly(Settings.of(environ), environ, clients, clock)
    assembly.items.close()
    # As in `concurrency.worker`: a busy machine is no table that is down.
    assembly.items = Items(clients.dynamodb, environ["HOOKCACHE_TABLE"], Breaker(clock), assembly.spending, 20.0)
    hook = assembly.hook(assembly.lambda_backend())
    assembly.items.get(b"warm up", "NOTHING")
    pipe.send("ready")
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            os._exit(0)
        clock.ahead_ms = order["ahead_ms"]
        pipe.send(_phase(hook, clock, order) | {"endings": receipts.endings})
        receipts.endings = Counter()


def _phase(hook: Any, clock: AheadClock, order: dict[str, Any]) -> dict[str, Any]:
    """Each caller asks for its keys, one after the other; what they were told, summed."""
    told: dict[str, Any] = {"made": 0, "pages": 0, "errors": [], "answers": Counter(), "took": []}
    lock, gate = threading.Lock(), threading.Barrier(len(order["callers"]))

    def caller(texts: list[str], seed: int) -> None:
        chance = random.Random(seed)
        gate.wait()
        for text in texts:
            started = time.perf_counter()
            try:
                answer = hook(ocr_event(text=text), FakeContext(clock, seconds=120.0))
            except Exception as error:
                with lock:
                    told["made"] += 1
                    told["errors"].append(type(error).__name__)
                continue
            with lock:
                told["made"] += 1
                told["pages"] += answer["usage"]["pages"]
                told["answers"][text, answer["made_by_call"]] += 1
                told["took"].append(time.perf_counter() - started)
            time.sleep(chance.uniform(0, 2 * order["pause_seconds"]))

    threads = [threading.Thread(target=caller, args=(texts, at)) for at, texts in enumerate(order["callers"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told

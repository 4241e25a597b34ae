"""
A process that gets one large event, as Lambda's runtime would hand it over: `python -m prove.large_event TABLE < event`.

Prints milliseconds of a miss and of a hit, and by how many bytes its peak passed what it held before the event came.
"""

from __future__ import annotations

import io
import json
import sys
import time
import uuid
from typing import Any

from fakes import FakeContext, ocr_event
from hookcache.assembly import Assembly
from hookcache.clients import Clients
from hookcache.clock import SystemClock
from hookcache.settings import Settings
from prove.hooks import SETTINGS, reply


class InstantLambda:
    """Stands where the Lambda client does, so that our own spelling of the payload is in the figure."""

    calls = 0

    def __call__(self, read_seconds: float) -> InstantLambda:
        return self

    def invoke(self, **arguments: Any) -> dict[str, Any]:
        self.calls += 1
        answer = json.dumps(reply("what it says")).encode()
        return {"StatusCode": 200, "Payload": io.BytesIO(answer), "ExecutedVersion": ""}


def of_process(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) * 1024


def main(table: str) -> None:
    standard, sys.stdout = sys.stdout, sys.stderr
    environ = {**SETTINGS, "HOOKCACHE_TABLE": table}
    clients = Clients()
    clients.lambda_by_timeout = backend = InstantLambda()  # type: ignore[assignment]
    assembly = Assembly(Settings.of(environ), environ, clients)
    hook = assembly.hook(assembly.lambda_backend())
    hook(ocr_event(text=uuid.uuid4().hex), FakeContext(SystemClock(), seconds=300.0))
    before = of_process("VmRSS")
    with open("/proc/self/clear_refs", "w", encoding="ascii") as peak:
        peak.write("5")
    payload = sys.stdin.buffer.read()
    took = []
    for _ in range(2):
        event = json.loads(payload)
        started = time.perf_counter()
        hook(event, FakeContext(SystemClock(), seconds=300.0))
        took.append((time.perf_counter() - started) * 1000)
        del event
    grown = of_process("VmHWM") - before
    print(json.dumps({"miss_ms": took[0], "hit_ms": took[1], "grown": grown, "calls": backend.calls}), file=standard)
    standard.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

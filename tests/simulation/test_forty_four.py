"""
The story of the 44 invocations (G14): five pages, a backend that takes 75 s, a host whose client gives up after 60 s.

Played in virtual time, at full scale, by the host's double and the real hook: each Lambda invocation is a thread that
runs on when its caller has hung up, as on the platform.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from typing import Any

from botocore.exceptions import ReadTimeoutError

import hookcache.flight
import hookcache.leader
from fakes import FakeClients, FakeContext
from hookcache.assembly import Assembly
from hookcache.backend import Answer
from hookcache.settings import Settings
from hookcache_ops.host import HostClient
from hookcache_ops.host_requests import Call
from host_steps import OLD_TIMEOUTS
from simulation.herd import Clock, Items, Table
from simulation.scheduler import Killed, Process, Scheduler, Threading

PAGES = 5
BACKEND_SECONDS = 75.0
CALLER_LIFE_SECONDS = 900.0


class Story:
    """
    Args:
        wrapped: with the wrapper before the backend, or the backend alone.

    Attributes:
        done_after: seconds until the last of them.
        finished: pages that the host got an answer for, while its own invocation lived.
        invocations: of whatever the host calls. calls: of the backend, by page.
    """

    mishaps: frozenset[str] = frozenset()

    def __init__(self, *, wrapped: bool) -> None:
        self.scheduler = Scheduler(44)
        self.table = Table()
        self.finished: list[str] = []
        self.invocations = 0
        self.calls: Counter[str] = Counter()
        self.done_after = 0.0
        self._wrapped = wrapped
        self._receipts = io.StringIO()

    def chance(self, share: float) -> bool:
        return False

    def strikes(self, mishap: str) -> bool:
        return False

    def play(self) -> Story:
        host = Process("host")
        real = hookcache.flight.threading
        hookcache.flight.threading = hookcache.leader.threading = Threading(self.scheduler)  # type: ignore[assignment]
        try:
            with contextlib.redirect_stdout(self._receipts):
                for page in range(PAGES):
                    self.scheduler.start(host, lambda page=page: self._page(host, f"page {page}"))
                self.scheduler.start(host, lambda: self._life_ends(host))
                self.scheduler.run()
        finally:
            hookcache.flight.threading = hookcache.leader.threading = real
        return self

    @property
    def receipts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._receipts.getvalue().splitlines()]

    def _page(self, host: Process, text: str) -> None:
        clock = Clock(self.scheduler, host)
        client = HostClient(self._invoke, "GENAIIDP-cache-ocr", clock=clock, jitter=lambda: 0.5)
        client.call(Call("OCR", [f"Read {text}"]))
        self.finished.append(text)
        self.done_after = self.scheduler.now

    def _life_ends(self, host: Process) -> None:
        self.scheduler.sleep(CALLER_LIFE_SECONDS)
        host.dead = True
        raise Killed

    def _invoke(self, **arguments: Any) -> dict[str, Any]:
        """The host's Lambda client: five attempts of 60 s by the SDK itself, then a time-out."""
        for _ in range(OLD_TIMEOUTS.sdk_attempts):
            reply = self._attempt(arguments)
            if reply is not None:
                return reply
        raise ReadTimeoutError(endpoint_url="lambda")

    def _attempt(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        self.invocations += 1
        environment = Process(f"environment {self.invocations}")
        came: list[dict[str, Any]] = []
        self.scheduler.start(environment, lambda: came.append(self._invocation(environment, arguments)))
        self.scheduler.wait(lambda: bool(came), OLD_TIMEOUTS.read_seconds)
        return came[0] if came else None

    def _invocation(self, environment: Process, arguments: dict[str, Any]) -> dict[str, Any]:
        event = json.loads(arguments["Payload"])
        handler = self._wrapper(environment) if self._wrapped else self._backend
        context = FakeContext(Clock(self.scheduler, environment), seconds=300)
        reply = handler(event, context)
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(reply).encode())}

    def _wrapper(self, environment: Process) -> Any:
        environ = {
            "HOOKCACHE_BACKEND": "GENAIIDP-ocr",
            "HOOKCACHE_TABLE": "hookcache",
            "HOOKCACHE_SECRET": "a secret that is long enough for this",
            "HOOKCACHE_IDENTITY": "pinned",
        }
        assembly = Assembly(Settings.of(environ), environ, FakeClients(), Clock(self.scheduler, environment))
        assembly.items.close()
        assembly.items = Items(self, environment)  # type: ignore[arg-type,assignment]
        return assembly.hook(_Slow(self))

    def _backend(self, event: Any, context: Any = None) -> Any:
        text = event["messages"][0]["content"][0]["text"]
        self.calls[text] += 1
        self.scheduler.sleep(BACKEND_SECONDS)
        return {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "usage": {"pages": 1}}


class _Slow:
    def __init__(self, story: Story) -> None:
        self._story = story

    def invoke(self, event: Any, context: Any, deadline: Any) -> Answer:
        response = self._story._backend(event)
        return Answer(json.dumps(response).encode(), response)


def test_five_slow_pages_cost_five_calls():
    """G14, S38, P53: attempts join the fetch under way, its late result is kept, and the next attempt finds it."""
    story = Story(wrapped=True).play()

    assert {f"Read page {page}": 1 for page in range(PAGES)} == story.calls
    assert PAGES == len(story.finished)
    assert Counter(miss=PAGES, collapsed=PAGES) == Counter(receipt["outcome"] for receipt in story.receipts)


def test_without_the_wrapper_no_page_is_ever_finished():
    """G14, control: the same host, the same backend, and nothing between them."""
    story = Story(wrapped=False).play()

    assert [] == story.finished
    assert story.calls.total() == story.invocations >= 44

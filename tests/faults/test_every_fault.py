"""P18, P20: every kind of failure of every dependency at every call: the backend's answer arrives, and none is wrong later."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError, ReadTimeoutError
from unguarded import BareItems, OpenHearted, weakened

from fakes import CANARY, answer, fitting_answer, ocr_event, refusal

URL = f"https://table/{CANARY}"
FAULTS: dict[str, Callable[[], BaseException]] = {
    "throttled": lambda: refusal("ThrottlingException", CANARY),
    "denied": lambda: refusal("AccessDeniedException", CANARY),
    "broken": lambda: refusal("InternalServerError", CANARY),
    "no connection": lambda: ConnectTimeoutError(endpoint_url=URL),
    "no reply": lambda: ReadTimeoutError(endpoint_url=URL),
    "closed": lambda: ConnectionClosedError(endpoint_url=URL),
    "value": lambda: ValueError(CANARY),
    "memory": lambda: MemoryError(CANARY),
    "runtime": lambda: RuntimeError(CANARY),
    "key": lambda: KeyError(CANARY),
}
STEPS = {
    "get_item": "dynamodb",
    "put_item": "dynamodb",
    "update_item": "dynamodb",
    "batch_write_item": "dynamodb",
    "get_object": "s3",
    "head_object": "s3",
    "put_object": "s3",
    "delete_object": "s3",
    "get_secret_value": "secrets",
    "get_function_configuration": "backend",
}
INLINE_BYTES = 1_500
LARGE = random.Random(7).randbytes(2_000).hex()


@pytest.fixture(autouse=True)
def small_items(monkeypatch):
    """Items hold next to nothing here: a small answer goes to the bucket, and hundreds of courses stay cheap."""
    monkeypatch.setattr("hookcache.sealer.INLINE_BYTES", INLINE_BYTES)


def reply_to(event: Any) -> dict[str, Any]:
    """One page's answer needs the overflow bucket, the other's fits an item."""
    large = "large" in event["messages"][0]["content"][0]["text"]
    return answer(LARGE, inputTokens=7, outputTokens=8) if large else fitting_answer(event)


class Course:
    """Requests that touch every dependency: two pages, misses and hits, then a large answer that is replaced."""

    def __init__(self, rig: Any) -> None:
        self.rig = rig
        rig.backend.handler = reply_to
        small, large = rig.image(b"small page"), rig.image(b"large page")
        self.small, self.large = ocr_event(small, text="small"), ocr_event(large, text="large")

    def run(self) -> None:
        for environment in (self.rig.first, self.rig.second):
            for event in (self.small, self.large):
                self.ask(event, environment)
        self.ask(self.large, self.rig.first, wishes={"refresh": True})

    def ask(self, event: Any, environment: Any, **more: Any) -> None:
        got = self.rig.call(event, environment, **more)
        assert reply_to(event)["output"] == got["output"]

    def afterwards(self) -> None:
        """All is well again: no wrong answer was left, and what is asked for is kept."""
        self.rig.clock.advance(120)
        for _ in range(2):
            environment = self.rig.cold_start()
            for event in (self.small, self.large):
                self.ask(event, environment)
        assert ["hit_table", "hit_table"] == self.rig.outcomes[-2:]


def plan(
    rig: Any, step: str, fault: Callable[[], BaseException], first: int, last: int, *, after: bool
) -> Counter[str]:
    """Have calls number `first` to `last` of `step` fail, `after`: once they are done. Counts the calls."""
    double = getattr(rig, STEPS[step])
    method, calls = getattr(double, step), Counter[str]()

    def failing(**arguments: Any) -> Any:
        calls[step] += 1
        fails = first <= calls[step] <= last
        if fails and not after:
            raise fault()
        reply = method(**arguments)
        if fails:
            raise fault()
        return reply

    setattr(double, step, failing)
    return calls


QUICK = {"throttled", "denied", "closed", "runtime"}


@pytest.mark.parametrize(
    "fault", [name if name in QUICK else pytest.param(name, marks=pytest.mark.prove) for name in FAULTS]
)
@pytest.mark.parametrize("step", STEPS)
def test_the_backends_answer_arrives(make_rig, step, fault):
    """P18, P20: one failure at each position, before it and after it was done, and failure from each position on."""
    calls = _calls_of(make_rig, step)
    assert calls >= 1, f"the course never calls {step}"
    for first in range(1, calls + 1):
        for last, after in ((first, False), (first, True), (10**6, False)):
            rig = make_rig()
            rig.dynamodb.faulted = True  # a lease may be left to its end
            course = Course(rig)
            plan(rig, step, FAULTS[fault], first, last, after=after)
            course.run()
            delattr(getattr(rig, STEPS[step]), step)  # the double's own method again
            course.afterwards()
            assert "failed" not in rig.outcomes


def _calls_of(make_rig: Callable[..., Any], step: str) -> int:
    rig = make_rig()
    course = Course(rig)
    calls = plan(rig, step, RuntimeError, 0, 0, after=False)
    course.run()
    return calls[step]


@pytest.mark.parametrize("fault", FAULTS)
def test_all_dependencies_at_once(make_rig, fault):
    """P18: nothing works but the backend."""
    rig = make_rig()
    rig.dynamodb.faulted = True
    course = Course(rig)
    for step in STEPS:
        plan(rig, step, FAULTS[fault], 1, 10**6, after=False)
    course.run()

    assert {"bypass"} == set(rig.outcomes)
    assert 5 == len(rig.backend.calls)


def test_control_without_the_guards_a_fault_is_a_failure(make_rig):
    """P18, Control: the same fault with the translation and the catch-alls taken out."""
    rig = make_rig()
    rig.dynamodb.faulted = True
    course = Course(rig)
    plan(rig, "get_item", FAULTS["runtime"], 2, 2, after=False)

    def bare(assembly: Any) -> BareItems:
        return BareItems(assembly.clients.dynamodb, assembly.settings.table, None, assembly.spending)

    class Open(OpenHearted):
        def _recall(self, call: Any, cache: Any, lookup: Any, leader: Any = None) -> Any:
            return cache.recall(lookup, call.receipt, again=leader is not None)

    environment = weakened(rig, items=bare, hook=Open)
    with pytest.raises(RuntimeError):
        rig.call(course.small, environment)
    rig.errors.clear()
    rig.errors.append(ValueError())

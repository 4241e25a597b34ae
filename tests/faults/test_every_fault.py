"""P18, P20: every kind of failure of every dependency and of every part: the backend's answer arrives, and none is wrong later."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError, ReadTimeoutError
from unguarded import BareItems, OpenHearted, weakened

from fakes import CANARY, answer, fitting_answer, ocr_event, refusal
from stopwatch import Stopwatch

URL = f"https://table/{CANARY}"
FAULTS: dict[str, Callable[[], Any]] = {
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
    "truncated": dict,
}
"""What is raised in place of a reply, or comes as one."""
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


def plan(rig: Any, step: str, fault: Callable[[], Any], first: int, last: int, *, after: bool) -> Counter[str]:
    """Have calls number `first` to `last` of `step` fail, `after`: once they are done. Counts the calls."""
    double = getattr(rig, STEPS[step])
    method, calls = getattr(double, step), Counter[str]()

    def failing(**arguments: Any) -> Any:
        calls[step] += 1
        fails = first <= calls[step] <= last
        reply = None if fails and not after else method(**arguments)
        if fails:
            reply = fault()
        if isinstance(reply, BaseException):
            raise reply
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


BOUNDS = (
    "overflow.OBJECT_SECONDS",
    "overflow.DELETE_SECONDS",
    "images.READ_SECONDS",
    "images.CHECK_SECONDS",
    "secret.READ_SECONDS",
    "control.DESCRIBE_SECONDS",
)


@pytest.mark.parametrize("step", STEPS)
def test_none_is_waited_for_past_its_bound(make_rig, monkeypatch, step):
    """P18, P19: one call that hangs, at each position, and all of them; here each bound is 0.05 s."""
    for name in BOUNDS:
        monkeypatch.setattr(f"hookcache.{name}", 0.05)
    for first, last in [(call, call) for call in range(1, _calls_of(make_rig, step) + 1)] + [(1, 10**6)]:
        rig = make_rig()
        rig.table_seconds, rig.dynamodb.faulted = 0.05, True
        course, gate = Course(rig), threading.Event()
        plan(rig, step, lambda gate=gate: {"waited": gate.wait(60)}, first, last, after=False)
        with Stopwatch() as watch:
            course.run()
        gate.set()
        delattr(getattr(rig, STEPS[step]), step)
        course.afterwards()

        assert watch.seconds < 5
        assert "failed" not in rig.outcomes


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


class Odd(Exception):
    """An error that has no words, and fails where it is asked for them."""

    def __str__(self) -> str:
        raise RuntimeError


PARTS: dict[str, Callable[[Any], tuple[Any, str]]] = {
    "secret": lambda environment: (environment.hook, "_cache"),
    "memo": lambda environment: (environment.cache._memo, "request_in"),
    "digest": lambda environment: (environment.cache._images, "digest"),
    "orders": lambda environment: (environment.cache.control, "now"),
    "key": lambda environment: (environment.cache, "_key_of"),
    "distrust": lambda environment: (environment.hook._truth, "distrusts"),
    "memory get": lambda environment: (environment.cache._memory, "get"),
    "table get": lambda environment: (environment.cache._table, "get"),
    "look again": lambda environment: (environment.cache._table, "get"),
    "overflow get": lambda environment: (environment.cache._table._overflow, "get"),
    "acquire": lambda environment: (environment.cache.flights._book, "acquire"),
    "poll": lambda environment: (environment.cache.flights._book, "read"),
    "pulse": lambda environment: (environment.cache.flights._pulse, "add"),
    "heartbeat": lambda environment: (environment.cache.flights._book, "renew"),
    "index": lambda environment: (environment.cache._items, "put_all"),
    "backend": lambda environment: (environment.hook._backend, "invoke"),
    "prices": lambda environment: (environment.hook._prices, "_known"),
    "admission": lambda environment: (environment.cache, "may_keep"),
    "image check": lambda environment: (environment.cache._images, "unchanged"),
    "overflow put": lambda environment: (environment.cache._table._overflow, "put"),
    "table put": lambda environment: (environment.cache._table, "put"),
    "memory put": lambda environment: (environment.cache._memory, "put"),
    "release": lambda environment: (environment.cache.flights._book, "release"),
}
"""Each step of a request, as the object and the method that takes it."""


class Pair:
    """One page in two environments, whose second follows the first by its lease; then both, and a third, ask again."""

    def __init__(self, rig: Any, part: str, fault: type[Exception]) -> None:
        self.rig, self.part, self.fault = rig, part, fault
        self.met = threading.Event()
        rig.backend.handler = reply_to
        self.event = ocr_event(rig.image(b"a page"), text="large")

    def broken(self) -> Any:
        """An environment that knows its orders, in which the part fails from now on."""
        environment = self.rig.cold_start()
        environment.cache.control.now()
        holder, name = PARTS[self.part](environment)
        whole = getattr(holder, name)

        def failing(*arguments: Any, **named: Any) -> Any:
            if self.part == "look again" and not named["consistent"]:
                return whole(*arguments, **named)
            self.met.set()
            raise self.fault

        setattr(holder, name, failing)
        return environment

    def ask(self, environment: Any) -> None:
        try:
            assert reply_to(self.event)["output"] == self.rig.call(self.event, environment)["output"]
        except Exception as error:
            if self.part != "backend" or isinstance(error, AssertionError):
                raise

    def run(self) -> None:
        gate, waiting = self.rig.backend.gate, self.rig.backend.waiting
        first, second, third = (self.broken() for _ in range(3))
        gate.clear()
        with ThreadPoolExecutor(2) as callers:
            leader = callers.submit(self.ask, first)
            while not leader.done() and not waiting.acquire(timeout=0.05):
                pass
            if self.part == "heartbeat":
                assert self.met.wait(60)
            self.rig.clock.on_sleep = lambda seconds: (gate.set(), leader.exception(60))
            follower = callers.submit(self.ask, second)
            while not gate.is_set():  # until the second waits, or asks the backend as well
                if follower.done() or waiting.acquire(timeout=0.05):
                    gate.set()
            leader.result(60)
            follower.result(60)
        for environment in (first, second, third):
            self.ask(environment)


@pytest.mark.parametrize("fault", [MemoryError, RecursionError, OSError, Odd])
@pytest.mark.parametrize("part", PARTS)
def test_whatever_a_part_of_ours_raises(make_rig, part, fault):
    """P18, P20, P28, P31: the answer arrives, each call has one receipt, no flight stays, and no lease past its end."""
    rig = make_rig(HOOKCACHE_IDENTITY="pinned", HOOKCACHE_LEASE_SECONDS="0.3")
    pair = Pair(rig, part, fault)
    pair.run()
    assert pair.met.is_set(), f"nobody came to {part}"
    if part != "backend":
        assert "failed" not in rig.outcomes
    rig.clock.advance(120)
    slept = len(rig.clock.slept)
    environment = rig.cold_start()
    rig.call(pair.event, environment, wishes={"refresh": True})
    rig.call(pair.event, environment)

    assert ["refresh", "hit_memory"] == rig.outcomes[-2:]
    assert slept == len(rig.clock.slept), "whoever came later waited for a lease that nobody holds"

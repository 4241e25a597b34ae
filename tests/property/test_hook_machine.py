"""
The whole hook as a state machine: two environments over one table, faults switched on and off, and an oracle that is a
dictionary and a bill.

The oracle knows each answer that the backend ever gave, for which request, by which code and in which generation, and when.
Whatever the hook returns must be one of these, given for an equal request and not yet over; and a kept answer must be
found again while nothing is broken.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from fakes import BUCKET, BackendRaised, answer, image_block, ocr_event, refusal
from hookcache.canonical import canonical_pieces
from hookcache.errors import BackendFailed
from hookcache.images import ImageDigest
from hookcache.lease import TOMBSTONE_SECONDS
from hookcache.orders import Orders
from hookcache.policy import Admit, Fresh
from hookcache.table import NEWER_FENCE_ONLY
from rig import Rig

FRESH_SECONDS = 3_600
MEMORY_SECONDS = 300
SEEN_SECONDS = 61
"""After this everybody knows of a deployment or an order (`IDENTITY`)."""

TEXTS = ("a", "b")
NAMES = ("page-1.jpeg", "page-2.jpeg")
CONTENTS = (b"page 1", b"page 2")


@dataclass(frozen=True)
class Given:
    """One answer of the backend: for what, when, and whether it may be kept."""

    identity: tuple[Any, ...]
    at_ms: int
    good: bool


class HookMachine(RuleBasedStateMachine):
    @initialize()
    def build(self) -> None:
        self.rig = Rig(HOOKCACHE_FRESH_SECONDS=str(FRESH_SECONDS), HOOKCACHE_MEMORY_SECONDS=str(MEMORY_SECONDS))
        self.rig.__enter__()
        self.given: dict[str, Given] = {}
        self.contents = dict.fromkeys(NAMES, CONTENTS[0])
        self.generation = "0"
        self.next_answer = "good"
        self.current: tuple[Any, ...] = ()
        self.erased: dict[tuple[Any, ...], int] = {}
        self.troubled = False
        self.rig.backend.handler = self.reply
        self.patient_with_the_double()
        for name in NAMES:
            self.upload(name, CONTENTS[0])

    def teardown(self) -> None:
        if hasattr(self, "rig"):
            self.rig.__exit__(None, None, None)

    def patient_with_the_double(self) -> None:
        """The table here is a dictionary, but its budget is real time: a machine that is busy enough would break it."""
        assert self.rig.second is not None
        for environment in self.rig.environments:
            environment.assembly.items._budget_seconds = 30.0

    # ---------------------------------------------------------------- the backend

    def reply(self, event: Any) -> Any:
        kind, self.next_answer = self.next_answer, "good"
        if kind == "error":
            return BackendRaised("ThrottlingException", "Too many requests")
        mark = f"answer {len(self.given)}"
        self.given[mark] = Given(self.current, self.rig.clock.now_ms(), kind == "good")
        units = {"inputTokens": len(self.given), "pages": 1}
        return answer(mark, "end_turn" if kind == "good" else "max_tokens", **units)

    def identity(self, text: str, names: tuple[str, ...]) -> tuple[Any, ...]:
        return (text, tuple(self.contents[name] for name in names), self.rig.backend.code, self.generation)

    # ---------------------------------------------------------------- requests

    def send(self, text: str, names: tuple[str, ...], environment: int, **call: Any) -> str | None:
        """One request; checks the answer against the dictionary and gives its mark, None if it failed."""
        uris = [f"s3://{BUCKET}/temp/lambdahook/{name}" for name in names]
        event = ocr_event(text=text)
        event["messages"][0]["content"] += map(image_block, uris)
        self.current = self.identity(text, names)
        asked = len(self.rig.backend.calls)
        try:
            told = self.rig.call(event, self.rig.environments[environment], **call)
        except BackendFailed:
            assert asked < len(self.rig.backend.calls), "P17: an error is never replayed"
            return None
        mark = told["output"]["message"]["content"][0]["text"]
        known = self.given[mark]
        called = len(self.rig.backend.calls) - asked
        assert called in {0, 1}, "P22: at most one backend call"
        assert self.current == known.identity, "P1: an answer is served for an equal request only"
        if called == 0:
            now = self.rig.clock.now_ms()
            assert known.good, "P14: a refused answer is never served again"
            assert now < known.at_ms + FRESH_SECONDS * 1000, "P10"
            erased = self.erased.get(self.current)
            if erased is not None and known.at_ms <= erased:
                assert now < erased + MEMORY_SECONDS * 1000, "P13: an erased answer outlived every memory copy"
            assert {0} == set(told["usage"].values()), "P32"
        return mark

    texts = st.sampled_from(TEXTS)
    images = st.lists(st.sampled_from(NAMES), max_size=2).map(tuple)
    environments = st.sampled_from([0, 1])

    @rule(text=texts, names=images, environment=environments)
    def request(self, text: str, names: tuple[str, ...], environment: int) -> None:
        """P1, P8-P14, P31-P33: any request, in any environment."""
        self.send(text, names, environment)

    @rule(text=texts, names=images, environment=environments)
    def refresh(self, text: str, names: tuple[str, ...], environment: int) -> None:
        """P51: always asks, and replaces."""
        asked = len(self.rig.backend.calls)
        self.send(text, names, environment, wishes={"refresh": True})
        assert asked + 1 == len(self.rig.backend.calls)

    @precondition(lambda self: not self.troubled)
    @rule(text=texts, names=images, environment=environments)
    def ask_twice(self, text: str, names: tuple[str, ...], environment: int) -> None:
        """P23, P53: while nothing is broken, what was kept is found again, in this environment and in the other."""
        mark = self.send(text, names, environment)
        if mark is None or not self.given[mark].good or self.last()["outcome"] == "bypass" or self.last()["refusal"]:
            return
        asked = len(self.rig.backend.calls)
        from_memory = self.last()["outcome"] == "hit_memory"
        assert mark == self.send(text, names, environment)
        if not from_memory:  # a memory copy may outlive an erase for a while (P13): the other need not find it
            self.send(text, names, 1 - environment)
        assert asked == len(self.rig.backend.calls)

    def last(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.rig.stdout.text.rsplit("\n", 2)[-2])
        return line

    # ---------------------------------------------------------------- what happens meanwhile

    @rule(seconds=st.sampled_from([0.5, 2, 61, 301, 1_800, 3_600, 8 * 86_400]))
    def time_passes(self, seconds: float) -> None:
        """P10, P11."""
        self.rig.clock.advance(seconds)

    @rule(seconds=st.sampled_from([61, 301, 3_600]))
    def environments_freeze(self, seconds: float) -> None:
        """P11, F32: the wall goes on, elapsed time does not."""
        self.rig.clock.freeze(seconds)

    @rule(code=st.sampled_from(["code-1", "code-2"]))
    def backend_is_deployed(self, code: str) -> None:
        """P40: or rolled back; seen within a minute."""
        self.rig.backend.deploy(code=code)
        self.rig.clock.advance(SEEN_SECONDS)

    @precondition(lambda self: not self.troubled)
    @rule(generation=st.sampled_from(["0", "1"]))
    def operator_changes_the_generation(self, generation: str) -> None:
        """P44: or restores the one before."""
        self.rig.environments[0].cache.control.amend(lambda _: Orders(generation=generation))
        self.generation = generation
        self.rig.clock.advance(SEEN_SECONDS)
        for environment in self.rig.environments:
            environment.cache.control.now()  # or the table may break first, and memory copies serve for their time (P44)

    @rule(name=st.sampled_from(NAMES), content=st.sampled_from(CONTENTS))
    def upload(self, name: str, content: bytes) -> None:
        """P4: other bytes under the same name."""
        self.contents[name] = content
        self.rig.image(content, name=f"temp/lambdahook/{name}")

    @rule(environment=environments)
    def environment_starts_cold(self, environment: int) -> None:
        """P11: an empty memory, a clock near zero."""
        self.rig.environments[environment].assembly.items.close()
        self.rig.environments[environment] = self.rig.cold_start()
        self.rig.environments.pop()
        self.patient_with_the_double()

    @precondition(lambda self: not self.troubled)
    @rule()
    def everything_is_erased(self) -> None:
        """P13: each key is fenced, then its entry becomes a tombstone."""
        cache = self.rig.environments[0].cache
        for item in self.rig.entries:
            key, ttl = item["pk"]["B"], self.rig.clock.now_ms() // 1000 + TOMBSTONE_SECONDS
            fence = cache.flights._book.fence_off(key)
            tombstone = cache._table._sealer.tombstone(key, fence, ttl)
            cache._items.put(tombstone, NEWER_FENCE_ONLY, {":mine": {"N": str(fence)}})
        for known in self.given.values():
            self.erased[known.identity] = self.rig.clock.now_ms()
        self.rig.clock.advance(0.001)

    @rule(seconds=st.sampled_from([0, 86_400]))
    def table_deletes_what_has_ended(self, seconds: int) -> None:
        """P10: by ttl, at once or days late."""
        self.rig.dynamodb.expire(self.rig.clock.now_ms() / 1000 - seconds)

    @rule(kind=st.sampled_from(["error", "truncated"]))
    def backend_will_fail(self, kind: str) -> None:
        """P14, P17: the next call raises, or its answer is cut."""
        self.next_answer = kind

    @rule(
        operation=st.sampled_from(["", "get_item", "put_item", "update_item", "batch_write_item"]),
        error=st.sampled_from(
            [
                EndpointConnectionError(endpoint_url="x"),
                refusal("ProvisionedThroughputExceededException"),
                refusal("AccessDeniedException"),
            ]
        ),
        after=st.booleans(),
    )
    def table_breaks(self, operation: str, error: BaseException, after: bool) -> None:
        """P18-P20, F1-F9: some or all operations; before they are done, or after."""
        self.rig.dynamodb.misbehave(error, operation=operation, after=after)
        self.troubled = True

    @rule(way=st.sampled_from(["forbidden", "missing", "cut"]))
    def images_break(self, way: str) -> None:
        """P42, F28."""
        self.rig.s3.misbehave(way)
        self.troubled = True

    @precondition(lambda self: self.troubled)
    @rule()
    def everything_is_repaired(self) -> None:
        """P19, F37: leases of the bad time have ended, and the breaker's probe came back."""
        self.rig.dynamodb.behave()
        self.rig.s3.behave()
        self.rig.clock.advance(SEEN_SECONDS + 40)
        for environment in self.rig.environments:
            environment.assembly.items._breaker.succeeded()
        self.troubled = False

    @invariant()
    def nothing_is_left_behind(self) -> None:
        """P28, P30: between calls no flight is in progress."""
        for environment in self.rig.environments if hasattr(self, "rig") else ():
            assert 0 == environment.cache.flights.in_progress


QUICK = os.environ.get("HOOKCACHE_PROFILE", "quick") == "quick"
TestTheHook = HookMachine.TestCase
TestTheHook.settings = settings(
    max_examples=25 if QUICK else 300, stateful_step_count=30 if QUICK else 50, deadline=None
)


# -------------------------------------------------------------------- negative controls


class _Weakened:
    """Parts of the product without their guard. They live here, never as a switch in the product."""

    @staticmethod
    def everything_is_fresh(entry: Any, now: Any, *limits: Any) -> Fresh:
        return Fresh()

    @staticmethod
    def everything_is_admitted(*judged: Any) -> Admit:
        return Admit()

    @staticmethod
    def every_image_is_equal(request: Any, digests: Any) -> Any:
        return canonical_pieces(request, [ImageDigest(b"\0" * 32, 1, "", "")] * len(digests))

    @staticmethod
    def hits_are_charged(response: Any, _units: Any) -> Any:
        return response


PAGE = {"text": "a", "names": (NAMES[0],), "environment": 0}
SCHEDULES = {
    "P10 lifetimes": (
        ("hookcache.cache.judge", _Weakened.everything_is_fresh),
        [("request", PAGE), ("time_passes", {"seconds": 8 * 86_400}), ("request", PAGE | {"environment": 1})],
    ),
    "P14 admission": (
        ("hookcache.cache.admit", _Weakened.everything_is_admitted),
        [("backend_will_fail", {"kind": "truncated"}), ("request", PAGE), ("request", PAGE)],
    ),
    "P1 images": (
        ("hookcache.cache.canonical_pieces", _Weakened.every_image_is_equal),
        [("request", PAGE), ("upload", {"name": NAMES[0], "content": CONTENTS[1]}), ("request", PAGE)],
    ),
    "P32 zeros": (
        ("hookcache.serving.without_charge", _Weakened.hits_are_charged),
        [("request", PAGE), ("request", PAGE)],
    ),
}


@pytest.mark.parametrize("guarded", [True, False], ids=["promise", "control"])
@pytest.mark.parametrize("guard", SCHEDULES)
def test_the_oracle_notices_a_missing_guard(guard, guarded, monkeypatch):
    """P4, P10, P14, P32: one schedule of the machine's own rules, with the guard and without it."""
    (part, without_guard), steps = SCHEDULES[guard]
    if not guarded:
        monkeypatch.setattr(part, without_guard)
    machine = HookMachine()
    machine.build()

    def run() -> None:
        for name, arguments in steps:
            getattr(machine, name)(**arguments)
        machine.rig.check()

    try:
        if guarded:
            run()
        else:
            with pytest.raises(AssertionError, match=guard.split()[0]):
                run()
    finally:
        machine.rig.__exit__(AssertionError, AssertionError(), None)

"""
Random combinations of the operator's rules, the callers' wishes, the operator's orders and what the backend, the table and
the images do meanwhile: two and three at once, which no test of one rule reaches.

The oracle is a dictionary of every answer that the backend gave (for what, when, and whether it may be kept) and a bill of each
call. It judges by the promises alone, and knows nothing of keys, leases or tiers.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException

from fakes import (
    BUCKET,
    CANARY,
    BackendRaised,
    FakeLambda,
    answer,
    client_context_of,
    image_block,
    ocr_event,
    read_timeout,
    refusal,
)
from hookcache.backend import CallableBackend
from hookcache.canonical import canonical_pieces
from hookcache.commands import Commands
from hookcache.control import BackendIdentity
from hookcache.errors import BackendError, FlightError
from hookcache.images import ImageDigest
from hookcache.key import form_digest
from hookcache.policy import Admit
from hookcache.references import with_references
from hookcache.request import parse
from hookcache.settings import Settings
from rig import Environment, Rig

FRESH_SECONDS, HARD_SECONDS, MEMORY_SECONDS = 3_600, 7_200, 300
SEEN_SECONDS = 61
"""After this everybody knows of a deployment or an order (`IDENTITY`)."""
SKEW_SECONDS, ORDERS_SECONDS = 2, 60 + MEMORY_SECONDS
LISTED = "ThrottlingException"
PAGES = ("page-1", "page-2")
PAGE_IMAGE, PAGE_TEXT = b"page image", b"{}"
NOTHING = object()
MARK = "traceparent"

GOOD = frozenset({"good", "no_usage", "large", "words_in_usage", "no_units", "without_image"})
"""Kinds of answers that may be kept, as far as no rule forbids it."""
UNITS: Mapping[str, Any] = {"inputTokens": 1_000, "outputTokens": 7, "pages": 1}
ANSWERS: Mapping[str, Callable[[str, dict[str, Any], str], Any]] = {
    "truncated": lambda text, units, _: answer(text, "max_tokens", **units),
    "blank": lambda _, units, mark: answer("  ", **units) | {"mark": mark},
    "prose": lambda _, units, mark: answer(f"{mark} of {CANARY}", **units),
    "refused_text": lambda _, units, mark: answer(json.dumps({"mark": mark, "class": "Unclassified"}), **units),
    "no_usage": lambda text, _, __: answer(text),
    "no_units": lambda text, _, __: answer(text) | {"usage": {}},
    "words_in_usage": lambda text, units, _: answer(text, **units, model="m", more={"a": 1}, odd=True),
    "negative_usage": lambda text, units, _: answer(text, **units, cachedTokens=-1),
    "nan": lambda text, units, _: answer(text, **units) | {"extra": math.nan},
    "error_body": lambda text, units, _: answer(text, **units) | {"errorMessage": "no"},
    "no_pages": lambda text, units, _: answer(text, **units | {"pages": 0}),
    "without_image": lambda text, units, _: answer(text, **units | {"inputTokens": 60}),
    "long": lambda text, units, _: answer(text, **units | {"outputTokens": 900}),
    "large": lambda text, units, _: answer(text, **units) | {"noise": os.urandom(400_000).hex()},
    "list": lambda _, __, mark: [mark],
    "null": lambda _, __, ___: None,
}
FAILURES = frozenset({"listed_error", "other_error", "timeout", "not_json", "throttled_twice"})


@dataclass(frozen=True)
class Plan:
    """The rules of a run and its steps, each a name and its arguments."""

    rules: Mapping[str, Any]
    encrypt: bool
    in_process: bool
    mode: str
    steps: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Request:
    context: str = "OCR"
    text: str = "a"
    pages: tuple[str, ...] = ()
    reference: bool = False
    temperature: float | None = 0.0


@dataclass
class Given:
    """One answer of the backend: for what, when that fetch began, what it was."""

    identity: tuple[Any, ...]
    began_ms: int
    kind: str
    keepable: bool
    reply: Any
    seen_ms: int = 0


@dataclass
class Call:
    """One invocation while it runs: how often it asked the backend, and what came."""

    request: Request
    wanted: tuple[Any, ...]
    identity: tuple[Any, ...]
    began_ms: int
    kinds: list[str]
    asked: int = 0
    reply: Any = NOTHING
    error: str = ""


class _Backend(FakeLambda):
    """Knows whose call it works on."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.asked_by = threading.local()
        self.slow_call = ""
        self.is_slow, self.goes_on = threading.Event(), threading.Event()

    def invoke(self, **arguments: Any) -> dict[str, Any]:
        name = client_context_of(arguments)["custom"][MARK]
        told: dict[str, Any] = self.answers(name, lambda: super(_Backend, self).invoke(**arguments))
        return told

    def answers(self, name: str, ask: Callable[[], Any]) -> Any:
        self.asked_by.call = name
        if name == self.slow_call:
            self.is_slow.set()
            assert self.goes_on.wait(100)
        return ask()


class Run:
    """A plan carried out on the rig, checked step by step."""

    def __init__(self, plan: Plan) -> None:
        policy = {"*": {"fresh_seconds": FRESH_SECONDS, "hard_seconds": HARD_SECONDS, **plan.rules}}
        self.rig = Rig(
            HOOKCACHE_MODE=plan.mode,
            HOOKCACHE_ENCRYPT="on" if plan.encrypt else None,
            HOOKCACHE_MEMORY_SECONDS=str(MEMORY_SECONDS),
            HOOKCACHE_FRESH_SECONDS=str(FRESH_SECONDS),
            HOOKCACHE_POLICY=json.dumps(policy),
            HOOKCACHE_IMAGE_PREFIXES=f"s3://{BUCKET}/temp/lambdahook,s3://{BUCKET}/pages",
        )
        self.rules = plan.rules
        self.mode = plan.mode
        self.ordered: str | None = None
        self.generation = "0"
        self.given: dict[str, Given] = {}
        self.contents = dict.fromkeys(PAGES, b"1")
        self.calls: dict[str, Call] = {}
        self.forms: dict[tuple[Any, ...], str] = {}
        self.meanwhile: list[Callable[[], None]] = []
        self.erased: dict[tuple[Any, ...], int] = {}
        self.hard_before_ms = self.soft_before_ms = 0
        self.troubled = False
        self.rig.backend = self.rig.clients.backend = _Backend(self.rig.clock)
        self.rig.backend.handler = self.reply
        self.rig.__enter__()
        self.rig.charged_hits = True  # the bill is kept here, call by call
        for page in PAGES:
            self.upload(page, b"1")
        self.rig.image(PAGE_IMAGE, name="pages/1/image.jpg")
        self.rig.image(PAGE_TEXT, name="pages/1/rawText.json")
        self.in_process = plan.in_process
        assert self.rig.second is not None
        for environment in self.rig.environments:
            self.set_up(environment)
        self.commands = Commands(Settings.of(self.rig.settings), self.rig.clients, self.rig.clock)

    def set_up(self, environment: Environment) -> None:
        """As a decorator or layer does, where this run is about one."""
        if self.in_process:
            identity = BackendIdentity(self.rig.backend.code.encode())
            environment.assembly.cache(identity)
            environment.hook = environment.assembly.hook(CallableBackend(self.handler), identity)

    # ---------------------------------------------------------------- the backend

    def handler(self, event: Any, context: Any) -> Any:
        """The backend as a handler of the same process."""
        backend = self.rig.backend
        reply = backend.answers(context.client_context.custom[MARK], lambda: self.reply(event))
        backend._note(reply)
        return reply

    def reply(self, event: Any) -> Any:
        call = self.calls[self.rig.backend.asked_by.call]
        call.asked += 1
        kind = call.kinds.pop(0) if call.kinds else "good"
        began = self.rig.clock.now_ms()
        for happens in self.meanwhile[:1]:
            self.meanwhile.clear()
            happens()
        self.rig.clock.advance(0.25)
        if kind in FAILURES:
            call.error = kind
            return self.failure(kind)
        mark = f"answer {len(self.given)}"
        reply = self.answer_of(kind, mark)
        self.given[mark] = Given(call.identity, call.began_ms, kind, self.may_be_kept(kind, call), reply, began)
        call.reply = reply
        if call.request.context == "Extraction":
            assert event["context"] == "Extraction"
        return json.dumps(reply).encode() if kind == "nan" and not self.in_process else reply

    def failure(self, kind: str) -> Any:
        if self.in_process:
            kind = LISTED if kind == "listed_error" else "OtherError"
            raise type(kind, (Exception,), {"error_type": kind})(f"of {CANARY}")
        return {
            "listed_error": BackendRaised(LISTED, f"slow down, {CANARY}"),
            "other_error": BackendRaised("ValueError", f"of {CANARY}"),
            "timeout": read_timeout(),
            "not_json": b"<html>",
            "throttled_twice": refusal("TooManyRequestsException"),
        }[kind]

    def answer_of(self, kind: str, mark: str) -> Any:
        text, units = json.dumps({"mark": mark, "of": CANARY}), {**UNITS, "inputTokens": 1_000 + len(self.given)}
        return ANSWERS.get(kind, lambda text, units, _: answer(text, **units))(text, units, mark)

    def may_be_kept(self, kind: str, call: Call) -> bool:
        """By the promises (P14, P33, P47) and the rules of this run; whether the time and the tiers allow it is asked elsewhere."""
        rules, request = self.rules, call.request
        images = bool(request.pages or request.reference)
        json_required = rules.get("require_json", request.context == "Extraction")
        if images and "image_tokens" in rules and kind in {"no_usage", "no_units", "without_image"}:
            return False
        if kind == "blank":
            return bool(rules.get("blank_pages"))
        if kind == "prose":
            return not json_required
        if kind == "refused_text":
            return "unclassified" not in rules.get("refused_texts", ())
        if kind == "no_pages":
            return not images
        if kind == "long":
            return rules.get("output_limit", 10**9) > 900
        return kind in GOOD

    # ---------------------------------------------------------------- requests

    def event_of(self, request: Request) -> Any:
        event = ocr_event(text=request.text)
        event["context"] = request.context
        event["messages"][0]["content"] += [
            image_block(f"s3://{BUCKET}/temp/lambdahook/{page}") for page in request.pages
        ]
        if request.reference:
            event["pageOutputUri"] = f"s3://{BUCKET}/pages/1/"
        if request.temperature is None:
            del event["inferenceConfig"]["temperature"]
        else:
            event["inferenceConfig"]["temperature"] = request.temperature
        return event

    def identity(self, request: Request, rollout: str) -> tuple[Any, ...]:
        contents = tuple(self.contents[page] for page in request.pages)
        return request, contents, self.rig.backend.code, self.generation, rollout

    @property
    def mode_now(self) -> str:
        return self.mode if self.mode == "off" or self.ordered is None else self.ordered

    def send(
        self,
        request: Request,
        environment: int = 0,
        wishes: Mapping[str, Any] | None = None,
        *kinds: str,
        name: str = "",
    ) -> str | None:
        """One call, checked; the mark of its answer, None where it failed. `kinds`: what the backend does when asked."""
        wishes = wishes or {}
        rig, mode, name = self.rig, self.mode_now, name or str(uuid.uuid4())
        event = self.event_of(request)
        before = copy.deepcopy(event)
        identity = self.identity(request, wishes.get("rollout", ""))
        self.forms[identity] = self.form_of(event, request)
        call = Call(request, identity, identity, rig.clock.now_ms(), list(kinds))
        alone = not self.calls
        self.calls[name] = call
        writes, reads, objects = self.writes(), len(rig.dynamodb.calls), len(rig.s3.calls)
        nested = bool(self.meanwhile)
        raised: BaseException | None = None
        told = None
        # A tracer's mark, which says nothing to a cache, tells the backend here whose call it is.
        said = SimpleNamespace(custom={MARK: name, **({"hookcache": wishes} if wishes else {})}, env={}, client=None)
        try:
            told = rig.call(event, rig.environments[environment], aws_request_id=name, client_context=said)
        except (AssertionError, HypothesisException):
            raise
        except Exception as error:
            raised = error
        finally:
            del self.calls[name]
        nested = nested or not alone or bool(self.calls)
        (receipt,) = [each for each in rig.receipts if each["request_id"] == name]
        self.told = receipt
        assert before == event, "P5"
        if not nested:
            if mode == "off" and self.mode == "off":
                assert (reads, objects) == (len(rig.dynamodb.calls), len(rig.s3.calls)), "P50: off touches nothing"
            if mode in {"off", "read_only"}:
                assert writes == self.writes(), f"P50: {mode} writes nothing"
        most = 2 if call.error == "throttled_twice" else 1
        assert call.asked <= most, f"P22: {call.asked} backend calls"
        if raised is not None:
            assert receipt["outcome"] == "failed"
            assert {} == receipt["units_spent"] == receipt["units_saved"]
            assert isinstance(raised, BackendError | FlightError) or (call.error and self.in_process), repr(raised)
            if isinstance(raised, BackendError) and call.error == "":
                assert receipt["reason"] == "shared_failure", "P17: an error that no call of ours met"
                assert LISTED in self.rules.get("negative_errors", ()) or nested
            return None
        self.judge(call, told, receipt, mode, wishes)
        return self.mark_in(told)

    def form_of(self, event: Any, request: Request) -> str:
        """As an operator makes it to have a request erased."""
        parsed = with_references(parse(event), ("pageOutputUri",) if request.reference else ())
        contents = [
            *(self.contents[page] for page in request.pages),
            *((PAGE_IMAGE, PAGE_TEXT) if request.reference else ()),
        ]
        digests = [ImageDigest(hashlib.sha256(each).digest(), len(each), "", "") for each in contents]
        return form_digest(canonical_pieces(parsed, digests)).hex()

    def mark_in(self, told: Any) -> str | None:
        if isinstance(told, list):
            return str(told[0])
        if not isinstance(told, dict):
            return None
        if "mark" in told:
            return str(told["mark"])
        text = told["output"]["message"]["content"][0]["text"]
        return str(json.loads(text)["mark"]) if text.startswith("{") else str(text.partition(" of ")[0])

    def judge(self, call: Call, told: Any, receipt: Any, mode: str, wishes: Mapping[str, Any]) -> None:
        """P1, P9, P10, P13, P14, P31-P33, P44, P45, P50, P51, P57, P59: of one answer."""
        outcome, now = receipt["outcome"], self.rig.clock.now_ms()
        served = outcome in {"hit_memory", "hit_table", "collapsed", "stale"}
        checked = "check" in receipt
        mark = self.mark_in(told)
        known = self.given.get(mark or "")
        if not served:
            assert call.asked >= 1
            assert call.reply is not NOTHING
            assert self.without_usage(call.reply) == self.without_usage(told), "P9: the backend's own answer"
            assert {} == receipt["units_saved"], "P57"
        else:
            assert known is not None
            assert mode in {"on", "read_only"}, f"P50: {mode} serves nothing"
            assert not wishes.get("bypass"), "P51"
            assert not wishes.get("refresh") or outcome == "stale", "P51"
            assert call.wanted == known.identity, "P1"
            assert known.keepable or outcome == "collapsed", "P14: refused, and served"
            assert known.keepable, "P48: a refused answer is handed to nobody"
            here = (
                "usage" in told and "usage" in known.reply
            )  # where either has none, a checked hit has that of its call
            assert self.without_usage(known.reply, here) == self.without_usage(told, here), "P9"
            self.judge_age(known, outcome, now, wishes)
            if outcome == "stale":
                assert self.rules.get("stale_if_error"), "P45: off unless it is asked for"
                assert call.error or receipt["error_type"] == LISTED or call.asked == 0
            else:
                assert bool(call.asked) == checked, "P59"
            if checked or outcome == "stale":
                assert {} == receipt["units_saved"], "P57"
        self.judge_usage(call, told, known, receipt, mode, served=served)

    def judge_age(self, known: Given, outcome: str, now: int, wishes: Mapping[str, Any]) -> None:
        age = now - known.began_ms
        if outcome == "stale":
            assert age < HARD_SECONDS * 1000, "P45: past hard_until"
        else:
            assert age < FRESH_SECONDS * 1000 + 1_000, "P10"
        if "max_age_seconds" in wishes:
            assert age <= wishes["max_age_seconds"] * 1000 + 1_000, "P51"
        if known.began_ms < self.hard_before_ms:
            assert now < self.hard_before_ms + ORDERS_SECONDS * 1000, "P44: invalidated"
        if known.began_ms < self.soft_before_ms and outcome != "stale":
            assert now < self.soft_before_ms + ORDERS_SECONDS * 1000, "P44: made stale"
        erased = self.erased.get(known.identity)
        if erased is not None and known.began_ms <= erased:
            assert now < erased + MEMORY_SECONDS * 1000, "P13"

    def judge_usage(self, call: Call, told: Any, known: Given | None, receipt: Any, mode: str, *, served: bool) -> None:
        if mode == "off":
            assert call.reply == told or json.dumps(call.reply) == json.dumps(told), "P33: off repairs nothing"
            return
        if not isinstance(told, dict):
            return
        usage = told.get("usage")
        paid = self.units_in(call.reply)
        assert receipt["units_spent"] == paid, "P32: what the call used, and nothing else, is spent"
        if served and call.reply is NOTHING:
            assert known is not None
            kept = self.units_in(known.reply)
            assert ("usage" in known.reply) == ("usage" in told), "P32: absent stays absent"
            if usage is not None:
                original = self.rules.get("usage_on_hit") == "original"
                assert usage == (kept if original else dict.fromkeys(kept, 0)), "P32"
                assert receipt.get("units_charged", {}) == (kept if original else {}), "P32: shown apart"
        elif usage is not None:  # of the call made here, a truth check's included
            assert usage == paid, "P32, P33"
            assert {} == receipt.get("units_charged", {}), "P32: charged once"
        else:
            assert paid == {}

    @staticmethod
    def units_in(reply: Any) -> dict[str, float]:
        usage = reply.get("usage") if isinstance(reply, dict) else None
        numbers = usage.items() if isinstance(usage, dict) else ()
        return {
            name: number
            for name, number in numbers
            if isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number < math.inf
        }

    @staticmethod
    def without_usage(reply: Any, in_place: bool = True) -> str:
        """As JSON, in its order; usage as a mark `in_place`, or not at all."""
        if not isinstance(reply, dict) or "usage" not in reply:
            return json.dumps(reply)
        return json.dumps(
            {name: 0 if name == "usage" else value for name, value in reply.items() if in_place or name != "usage"}
        )

    def writes(self) -> int:
        table = sum(
            name in {"put_item", "update_item", "delete_item", "batch_write_item"}
            for name, _ in self.rig.dynamodb.calls
        )
        return table + self.rig.s3.count("put_object") + self.rig.s3.count("delete_object")

    # ---------------------------------------------------------------- steps

    def request(self, step: Any) -> None:
        request, environment, wishes, kind = step
        self.send(request, environment, wishes, kind, kind)

    def twice(self, step: Any) -> None:
        """P23, P53: where nothing is in the way, what was fetched is found, here and in the other environment."""
        request, environment, _, kind = step
        mark = self.send(request, environment, {}, kind)
        first = self.told
        if self.troubled or mark is None or first["outcome"] not in {"miss", "hit_table"} or self.mode_now != "on":
            return
        if first["outcome"] == "miss":
            assert self.given[mark].keepable == (first["refusal"] == ""), f"P14: {first['refusal']}"
        if first["refusal"]:
            return
        for other in (environment, 1 - environment):
            self.send(request, other)  # perhaps an older answer, of a memory that no erase or order has reached yet
            if self.told["reason"] != "distrusted":  # by a truth check: no two answers are the same here (P59)
                assert self.told["outcome"] in {"hit_memory", "hit_table"}

    def overlap(self, step: Any) -> None:
        """P23-P28: the other environment asks for the same while the backend is at work, and waits for longer than a lease lasts."""
        request, environment, wishes, kind = step
        self.meanwhile.append(lambda: self.send(request, 1 - environment, wishes) and None)
        self.send(request, environment, {}, kind)
        self.meanwhile.clear()

    def follow(self, step: Any) -> None:
        """P23, P17, P48: the other environment waits while the backend is at work, and sees how that ends."""
        request, environment, wishes, kind = step
        backend, failures = self.rig.backend, []
        backend.slow_call = name = str(uuid.uuid4())
        backend.is_slow.clear()
        backend.goes_on.clear()

        def lead() -> None:
            try:
                self.send(request, environment, {}, kind, kind, name=name)
            except BaseException as failure:
                failures.append(failure)
            finally:
                backend.is_slow.set()  # it may not have asked at all

        leader = threading.Thread(target=lead)
        leader.start()
        assert backend.is_slow.wait(60)

        def goes_on(_: float = 0.0) -> None:
            backend.goes_on.set()
            if threading.current_thread() is not leader:
                leader.join(60)

        self.rig.clock.on_sleep = goes_on  # of the second caller, which waits
        try:
            self.send(request, 1 - environment, wishes)
        finally:
            self.rig.clock.on_sleep = lambda seconds: None
            goes_on()
        for failure in failures:
            raise failure

    def fail_later(self, step: Any) -> None:
        """P45: a fetch that fails when the answer kept before is no longer fresh; something may happen meanwhile."""
        request, environment, (wishes, kind, happens) = step
        self.send(request, environment)
        self.rig.clock.advance(FRESH_SECONDS + 10)
        if happens[0] != "wait":
            self.meanwhile.append(lambda: getattr(self, happens[0])(happens[1]))
        self.send(request, environment, wishes, kind, kind)
        self.meanwhile.clear()

    def change_meanwhile(self, step: Any) -> None:
        """P13, P15, P40, P44: an erase, a new image, a deployment, an order while the backend is at work."""
        request, environment, wishes, happens = step
        self.meanwhile.append(lambda: getattr(self, happens[0])(happens[1]))
        self.send(request, environment, wishes)
        self.meanwhile.clear()

    def wait(self, seconds: float) -> None:
        self.rig.clock.advance(seconds)

    def freeze(self, seconds: float) -> None:
        self.rig.clock.freeze(seconds)

    def upload(self, page: str, content: bytes) -> None:
        self.contents[page] = content
        self.rig.image(content, name=f"temp/lambdahook/{page}")

    def replace_page(self, content: bytes) -> None:
        """P15: what is being fetched may be of either; it may be served for neither."""
        self.upload(PAGES[0], content)
        for call in self.calls.values():
            if PAGES[0] in call.request.pages:
                call.identity = (*call.identity, "changed meanwhile", len(self.given))

    def deploy(self, code: str) -> None:
        if self.in_process:
            return  # other code is another process
        self.rig.backend.deploy(code=code)
        self.rig.clock.advance(SEEN_SECONDS)

    def other_version(self, version: str | None) -> None:
        self.rig.backend.executed_version = version

    def erase(self, _: Any) -> None:
        if self.troubled:
            return
        began = self.rig.clock.now_ms()
        if self.forms:
            report = self.commands({"command": "erase", "forms": sorted(set(self.forms.values()))})
            assert "error" not in report, report
        for known in self.given.values():
            self.erased[known.identity] = began
        for call in self.calls.values():
            self.erased[call.identity] = began
        self.rig.clock.advance(0.001)

    def order(self, command: Mapping[str, Any]) -> None:
        if self.troubled:
            return
        report = self.commands(dict(command))
        assert "error" not in report, report
        now = self.rig.clock.now_ms()
        match command["command"]:
            case "invalidate" if command.get("soft"):
                self.soft_before_ms = now
            case "invalidate":
                self.hard_before_ms = now
            case "generation":
                self.generation = command["generation"] or "0"
            case "mode":
                self.ordered = command["mode"]
        if command["command"] != "invalidate":
            self.rig.clock.advance(SEEN_SECONDS)
            for environment in self.rig.environments:
                environment.cache.control.now()  # or the table may break before it was ever seen

    def cold(self, environment: int) -> None:
        self.rig.environments[environment].close()
        self.rig.environments[environment] = self.rig.cold_start()
        self.rig.environments.pop()
        self.set_up(self.rig.environments[environment])

    def break_table(self, step: Any) -> None:
        operation, error, after = step
        self.rig.dynamodb.misbehave(error, operation=operation, after=after)
        self.troubled = True

    def repair(self, _: Any) -> None:
        self.rig.dynamodb.behave()
        self.rig.clock.advance(SEEN_SECONDS + 40)
        for environment in self.rig.environments:
            environment.assembly.items._breaker.succeeded()
        self.troubled = False

    # ---------------------------------------------------------------- the whole

    def finish(self) -> None:
        self.rig.check()
        assert all(
            receipt["units_saved"] == {} or receipt["outcome"] in {"hit_memory", "hit_table", "collapsed"}
            for receipt in self.rig.receipts
        )

    def close(self) -> None:
        self.commands.close()
        self.rig.__exit__(AssertionError, AssertionError(), None)


# -------------------------------------------------------------------- plans

RULES = {
    "stale_if_error": [True],
    "usage_on_hit": ["original"],
    "check_share": [1.0],
    "delegate_after_wait": [True],
    "negative_errors": [[LISTED]],
    "resolve_references": [["pageOutputUri"]],
    "trace": [True],
    "error_detail": ["type"],
    "blank_pages": [True],
    "require_json": [True, False],
    "refused_texts": [["unclassified"]],
    "output_limit": [500],
    "image_tokens": [50],
    "temperature_ceiling": [None, 0.5],
}
rules = st.lists(st.sampled_from(sorted(RULES)), max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: st.sampled_from(RULES[name]) for name in names})
)
all_requests = st.builds(
    Request,
    context=st.sampled_from(["OCR", "OCR", "Extraction"]),
    text=st.sampled_from(["a", "b"]),
    pages=st.sampled_from([(), (PAGES[0],), (PAGES[0],), PAGES]),
    reference=st.sampled_from([False, False, False, False, True]),
    temperature=st.sampled_from([0.0] * 9 + [0, 0.3, None]),
)
wishes = st.sampled_from(
    [
        *({}, {}, {}, {"refresh": True}, {"bypass": True}, {"max_age_seconds": 30}, {"rollout": "blue"}),
        *({"max_age_seconds": 30, "rollout": "blue"}, {"refresh": True, "rollout": "blue"}),
    ]
)
environments = st.sampled_from([0, 1])
kinds = st.sampled_from(
    ["good"] * 8
    + sorted(GOOD)
    + sorted(FAILURES)
    + [
        "truncated",
        "blank",
        "without_image",
        "prose",
        "refused_text",
        "negative_usage",
        "nan",
        "error_body",
        "no_pages",
        "long",
        "list",
        "null",
    ]
)
modes = st.sampled_from(["on", "on", "on", "on", "on", "off", "observe", "read_only", "write_only"])
orders = st.one_of(
    st.builds(lambda soft: {"command": "invalidate", "soft": soft}, st.booleans()),
    st.builds(lambda generation: {"command": "generation", "generation": generation}, st.sampled_from(["1", None])),
    st.builds(lambda mode: {"command": "mode", "mode": mode}, st.one_of(st.none(), modes)),
)
changes = st.one_of(
    st.tuples(st.just("erase"), st.none()),
    st.tuples(st.just("replace_page"), st.sampled_from([b"1", b"2"])),
    st.tuples(st.just("deploy"), st.sampled_from(["code-1", "code-2"])),
    st.tuples(st.just("order"), orders),
    st.tuples(st.just("wait"), st.sampled_from([31, 61, 400])),
)
faults = st.tuples(
    st.sampled_from(["", "get_item", "put_item", "update_item", "batch_write_item"]),
    st.sampled_from(
        [
            EndpointConnectionError(endpoint_url="x"),
            refusal("ProvisionedThroughputExceededException"),
            refusal("AccessDeniedException"),
        ]
    ),
    st.booleans(),
)


def steps_about(requests: st.SearchStrategy[Request]) -> st.SearchStrategy[tuple[str, Any]]:
    """Steps about few requests: else hardly any comes twice."""
    calls = st.tuples(requests, environments, wishes, kinds)
    waits = st.sampled_from([0.5, 2, 31, 61, 301, 3_600, 3_600, 8_000])
    happens: list[tuple[int, str, st.SearchStrategy[Any]]] = [
        (5, "request", calls),
        (4, "twice", calls),
        (2, "overlap", calls),
        (2, "follow", calls),
        (3, "change_meanwhile", st.tuples(requests, environments, wishes, changes)),
        (
            2,
            "fail_later",
            st.tuples(requests, environments, st.tuples(wishes, st.sampled_from(sorted(FAILURES)), changes)),
        ),
        (3, "wait", waits),
        (1, "freeze", waits),
        (1, "replace_page", st.sampled_from([b"1", b"2"])),
        (1, "deploy", st.sampled_from(["code-1", "code-2"])),
        (1, "erase", st.none()),
        (2, "order", orders),
        (1, "cold", environments),
        (1, "break_table", faults),
        (1, "repair", st.none()),
    ]
    return st.sampled_from([each for each in happens for _ in range(each[0])]).flatmap(
        lambda each: st.tuples(st.just(each[1]), each[2])
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    few = draw(st.lists(all_requests, min_size=1, max_size=2))
    steps = draw(st.lists(steps_about(st.sampled_from(few)), min_size=2, max_size=14))
    chosen = draw(rules)
    if any(request.reference for request in few) and draw(st.sampled_from([True, True, False])):
        chosen["resolve_references"] = ["pageOutputUri"]
    if draw(st.booleans()):
        chosen["stale_if_error"] = True
    return Plan(chosen, draw(st.booleans()), draw(st.booleans()), draw(modes), tuple(steps))


def carry_out(plan: Plan) -> None:
    run = Run(plan)
    try:
        for name, argument in plan.steps:
            getattr(run, name)(argument)
        run.finish()
    finally:
        run.close()


LONG = os.environ.get("HOOKCACHE_PROFILE", "quick") == "long"


@settings(max_examples=3_000 if LONG else 150, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans())
def test_any_combination_of_rules_wishes_and_events_gives_a_right_answer_and_an_exact_bill(plan):
    """P1, P9, P10, P13-P17, P22, P31-P33, P44, P45, P48, P50, P51, P57, P59: two or three rules at once."""
    carry_out(plan)


# -------------------------------------------------------------------- negative controls


REQUEST = Request()
CALL = (REQUEST, 0, {}, "good")
CONTROLS: Mapping[str, tuple[str, Any, Plan]] = {
    "P14": (
        "hookcache.cache.admit",
        lambda *_: Admit(),
        Plan({"output_limit": 500}, False, False, "on", (("request", (REQUEST, 0, {}, "long")), ("request", CALL))),
    ),
    "P32": (
        "hookcache.serving.without_charge",
        lambda response, _: response,
        Plan({"trace": True}, True, False, "on", (("twice", CALL),)),
    ),
    "P50: observe": (
        "hookcache.hook.stale_answer",
        lambda cache, lookup, *_: lookup.stale,
        Plan(
            {"stale_if_error": True},
            False,
            True,
            "observe",
            (("fail_later", (REQUEST, 0, ({}, "other_error", ("wait", 1)))),),
        ),
    ),
    "P50: read_only": (
        "hookcache.lookup.Lookup.unleased",
        None,
        Plan({"check_share": 1.0}, False, False, "read_only", (("request", CALL),)),
    ),
}


@pytest.mark.parametrize("guarded", [True, False], ids=["promise", "control"])
@pytest.mark.parametrize("guard", CONTROLS)
def test_the_oracle_notices_a_missing_guard(guard, guarded, monkeypatch):
    """P14, P32, P50: one plan with the guard and without it."""
    part, without_guard, plan = CONTROLS[guard]
    if guarded:
        carry_out(plan)
        return
    monkeypatch.setattr(part, without_guard)
    with pytest.raises(AssertionError, match=guard):
        carry_out(plan)

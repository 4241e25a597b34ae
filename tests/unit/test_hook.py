"""The whole path, from event to answer and receipt, in one environment and in two."""

import copy
import json
import threading
from collections import Counter, OrderedDict
from decimal import Decimal
from types import SimpleNamespace
from typing import ClassVar

import pytest
from botocore.exceptions import EndpointConnectionError

from fakes import (
    BUCKET,
    CANARY,
    OVERFLOW_BUCKET,
    STEPS,
    BackendRaised,
    FakeContext,
    answer,
    client_context_of,
    extraction_event,
    json_answer,
    ocr_event,
    page_answer,
    read_timeout,
    refusal,
    summarization_event,
    token_answer,
)
from hookcache.backend import CallableBackend
from hookcache.bounded import NotInTime
from hookcache.control import BackendIdentity, Orders
from hookcache.entry import Entry
from hookcache.errors import BackendFailed, BackendMalformed, BackendThrottled, DeadlineTooClose, FollowerTimedOut
from hookcache.leader import Alone, Landed, Leader
from hookcache.outcome import Reason
from hookcache.table import Missing
from rig import metric
from waiting import eventually


def policy(**contexts):
    return {"HOOKCACHE_POLICY": json.dumps(contexts)}


class TestAnswers:
    @pytest.mark.parametrize("step", STEPS)
    def test_a_repeated_request_is_answered_without_the_backend(self, rig, step):
        """P1, P9, P31: miss, memory hit, table hit; one backend call; every step of the host."""
        event = STEPS[step]()
        first, memory, table = rig.call(event), rig.call(event), rig.call(event, rig.second)

        assert ["miss", "hit_memory", "hit_table"] == rig.outcomes
        assert 1 == len(rig.backend.calls)
        assert first["output"] == memory["output"] == table["output"]

    def test_the_same_page_under_a_new_name_is_answered(self, rig):
        """P4, S6: the host uploads it under a random name at every call, with or without an owner."""
        rig.call(ocr_event(rig.image(b"page")))
        event = ocr_event(rig.image(b"page"))
        event["messages"][0]["content"][1]["image"]["source"]["s3Location"]["bucketOwner"] = "123456789012"
        rig.call(event)

        assert ["miss", "hit_memory"] == rig.outcomes

    def test_the_same_name_with_another_page_is_not(self, rig):
        """P4, S5, S7: equal names, ETags and first 64 KB say nothing."""
        head = b"\xff\xd8" * 40_000
        for page in (b"1", b"2"):
            rig.call(ocr_event(rig.image(head + page, name="temp/lambdahook/page.jpeg")))

        assert ["miss", "miss"] == rig.outcomes

    def test_the_backend_receives_the_very_event(self, rig):
        """P5, S15: deep-equal, unchanged by us, and with nothing of ours inside."""
        event = extraction_event("page", rig.image(b"page"))
        before = copy.deepcopy(event)
        rig.call(event, wishes={"refresh": True})

        assert [before] == rig.backend.calls
        assert before == event
        assert {"custom": {"hookcache_hops": "GENAIIDP-cache-backend"}} == client_context_of(rig.backend.arguments[0])

    def test_what_a_caller_does_to_an_answer_changes_no_later_one(self, rig):
        """P8, S28: on the miss, on a memory hit and on a table hit."""
        event, replies = summarization_event(), []
        for environment in (rig.first, rig.first, rig.second):
            reply = environment.hook(event, SimpleNamespace())
            replies.append(json.dumps(reply["output"]))
            reply["output"]["message"]["content"].append({"text": "scribbled"})
            reply.clear()
        rig.invocations += 3
        rig.charged_hits = True

        assert 1 == len(set(replies))

    @pytest.mark.parametrize(
        "units", [{"inputTokens": 1500, "outputTokens": 200, "totalTokens": 1700}, {"pages": 3}, {"novel": 2.5}, {}]
    )
    def test_a_hit_is_metered_as_zero(self, rig, units):
        """P32, S48, S49: the same names, all zeros, in the answer; the receipt says what was saved."""
        rig.backend.handler = lambda event: answer("text", **units)
        miss, hit = rig.call(ocr_event()), rig.call(ocr_event())

        assert units == miss.get("usage", {})
        assert dict.fromkeys(units, 0) == hit.get("usage", {})
        assert (units, {}) == (rig.receipts[0]["units_spent"], rig.receipts[0]["units_saved"])
        assert ({}, units) == (rig.receipts[1]["units_spent"], rig.receipts[1]["units_saved"])

    def test_an_operator_may_charge_hits_back(self, make_rig):
        """P32: opt-in; the receipt still tells saved from spent."""
        rig = make_rig(**policy(OCR={"usage_on_hit": "original"}))
        rig.charged_hits = True
        miss, hit = rig.call(ocr_event()), rig.call(ocr_event())

        assert miss == hit
        assert {} == rig.last["units_spent"]

    def test_a_copy_holds_the_same_whoever_fetched_it(self, rig):
        """P30: what an environment stored takes the memory of what another one read; simulate counts on it."""
        for environment in (rig.first, rig.second):
            rig.call(ocr_event(rig.image(b"a page")), environment)

        tiers = [environment.cache._memory for environment in (rig.first, rig.second)]
        (stored,), (read,) = ([each.entry for each in tier._copies.values()] for tier in tiers)
        assert ["miss", "hit_table"] == rig.outcomes
        assert stored == read  # digests of the origin among its members: they are in no one's count of bytes
        assert tiers[0].held_bytes == tiers[1].held_bytes > 0

    def test_hits_add_nothing_to_an_answer(self, rig):
        """P9, S17: no flag, no age, no saving; what a caller could tell a hit by is in the receipt only."""
        rig.backend.handler = lambda event: page_answer()
        miss, hit = rig.call(ocr_event()), rig.call(ocr_event())

        assert json.dumps({**miss, "usage": 0}) == json.dumps({**hit, "usage": 0})


class TestIdentity:
    @pytest.mark.parametrize("change", [{"code": "code-2"}, {"config": "config-2"}, {"version": "2"}], ids=str)
    def test_a_redeployed_backend_is_another_one(self, rig, change):
        """P40, S13, F27: code, configuration or version; seen within a minute, and a rollback restores."""
        before = {name: getattr(rig.backend, name) for name in change}
        rig.call(ocr_event())
        rig.backend.deploy(**change)
        rig.clock.advance(61)
        rig.call(ocr_event())
        rig.backend.deploy(**before)
        rig.clock.advance(61)
        rig.call(ocr_event())

        assert ["miss", "miss"] == rig.outcomes[:2]
        assert rig.outcomes[2].startswith("hit")

    def test_an_answer_of_another_version_is_not_kept(self, rig):
        """P40, F27: deployed in between: the key names code that did not answer."""
        rig.backend.version = "7"
        rig.backend.executed_version = "8"
        rig.call(ocr_event())

        assert ("miss", "other_version", []) == (rig.last["outcome"], rig.last["refusal"], rig.entries)

    def test_a_backend_that_cannot_be_resolved_is_asked_every_time(self, rig):
        """P40, P18: bypass, never a key without an identity."""
        rig.backend.describe_error = refusal("AccessDeniedException")
        for _ in range(2):
            rig.call(ocr_event())
            assert ("bypass", "backend_unknown") == (rig.last["outcome"], rig.last["reason"])

    def test_the_last_known_identity_serves_for_an_hour(self, rig):
        """P40: the control plane's quota is low; its failure must not cost a cold cache at once."""
        rig.call(ocr_event())
        rig.backend.describe_error = refusal("TooManyRequestsException")
        outcomes = []
        for seconds in (61, 3_400, 200):
            rig.clock.advance(seconds)
            rig.call(ocr_event())
            outcomes.append(rig.last["outcome"])

        assert ["hit_memory", "hit_table", "bypass"] == outcomes

    def test_environments_share_what_was_resolved(self, rig):
        """P40: one call of the control plane a minute for all of them."""
        for _ in range(3):
            rig.call(ocr_event(), rig.cold_start())

        assert 1 == rig.backend.described

    @pytest.mark.parametrize(("looks_after", "outcome"), [(1, "hit_table"), (60, "bypass")], ids=["promise", "control"])
    def test_what_another_resolved_is_seen_at_once(self, rig, monkeypatch, looks_after, outcome):
        """
        P40: of many environments that start together the control plane refuses most. They look again whether one was told,
        and ask it no sooner. Control: they pay for a minute.
        """
        monkeypatch.setattr("hookcache.control.UNKNOWN_SECONDS", looks_after)
        rig.backend.describe_error = refusal("TooManyRequestsException")
        rig.call(ocr_event(), rig.first)
        rig.backend.describe_error = None
        rig.call(ocr_event(), rig.second)
        rig.clock.advance(2)
        rig.call(ocr_event(), rig.first)

        assert (["bypass", "miss", outcome], 2) == (rig.outcomes, rig.backend.described)

    def test_what_another_resolved_is_good_for_the_rest_of_its_minute(self, rig):
        """P40: learnt 50 s after it was asked for, it is asked for again 10 s later: a deployment is seen within a minute."""
        rig.call(ocr_event())
        rig.clock.advance(50)
        rig.call(ocr_event(), rig.second)
        rig.backend.deploy(code="code-2")
        rig.clock.advance(11)
        rig.call(ocr_event(), rig.second)

        assert ["miss", "hit_table", "miss"] == rig.outcomes
        assert 2 == rig.backend.described

    def test_a_pinned_identity_asks_nobody(self, make_rig):
        """P40: ARN and generation stand for the backend, on the operator's word."""
        rig = make_rig(HOOKCACHE_IDENTITY="pinned")
        rig.call(ocr_event())
        rig.backend.deploy(code="code-2")
        rig.call(ocr_event())

        assert (["miss", "hit_memory"], 0) == (rig.outcomes, rig.backend.described)

    @pytest.mark.parametrize("setting", ["HOOKCACHE_NAMESPACE", "HOOKCACHE_GENERATION"])
    def test_another_namespace_or_generation_does_not_hit(self, rig, setting):
        """P7, S17, S18: no hit crosses, even for equal events; the old one comes back with its word."""
        rig.call(ocr_event())
        rig.call(ocr_event(), rig.cold_start(**{setting: "other"}))
        rig.call(ocr_event(), rig.cold_start())

        assert ["miss", "miss", "hit_table"] == rig.outcomes

    def test_another_secret_is_a_cold_cache(self, rig):
        """P37, T14: the key id is part of the namespace."""
        rig.call(ocr_event())
        rig.secrets.text = "another secret"
        rig.call(ocr_event(), rig.second)

        assert ["miss", "miss"] == rig.outcomes

    @pytest.mark.parametrize("member", ["pageOutputUri", "novel"])
    def test_an_input_by_reference_is_bypassed(self, rig, member):
        """P41, S14: otherwise every page would have one key, or none would ever hit."""
        rig.call(summarization_event() | {member: f"s3://{BUCKET}/pages/1/"})

        assert ("bypass", "reference") == (rig.last["outcome"], rig.last["reason"])

    def test_a_missing_secret_bypasses_everything_and_comes_back(self, rig):
        """P37, F30, P18: never an unkeyed digest; asked for again each minute."""
        rig.secrets.error = refusal("AccessDeniedException")
        rig.call(ocr_event())
        rig.secrets.error = None
        rig.call(ocr_event())
        rig.clock.advance(61)
        rig.call(ocr_event())

        assert ["bypass", "bypass", "miss"] == rig.outcomes
        assert "secret_unavailable" == rig.receipts[0]["reason"]


class TestLifetimes:
    def test_nothing_is_served_past_its_freshness(self, make_rig):
        """P10, S30, F14: whatever the table still holds."""
        rig = make_rig(HOOKCACHE_FRESH_SECONDS="100")
        for seconds in (0, 99, 1):
            rig.clock.advance(seconds)
            rig.call(ocr_event())

        assert ["miss", "hit_memory", "miss"] == rig.outcomes
        assert "expired" == rig.last["reason"]

    @pytest.mark.parametrize("seconds", [-3_600, 3_600])
    def test_a_wrong_clock_never_serves_a_stale_answer(self, make_rig, seconds):
        """P10, P12, F31: an hour ahead it has expired, an hour behind it comes from the future."""
        rig = make_rig(HOOKCACHE_FRESH_SECONDS="1800")
        rig.call(ocr_event())
        rig.clock.freeze(seconds)
        rig.call(ocr_event(), rig.second)

        assert ("miss", "expired" if seconds > 0 else "created_in_future") == (rig.last["outcome"], rig.last["reason"])

    def test_a_frozen_environment_judges_by_the_wall(self, make_rig):
        """P11, S31, F32: its elapsed time stood still for the whole night."""
        rig = make_rig(HOOKCACHE_FRESH_SECONDS="3600")
        rig.call(ocr_event())
        rig.clock.freeze(8 * 3_600)
        rig.call(ocr_event())

        assert ["miss", "miss"] == rig.outcomes

    @pytest.mark.parametrize("operation", ["get_item", "put_item"])
    def test_a_copys_life_begins_when_the_table_is_asked(self, rig, operation):
        """P11, P13, F32: frozen for 200 s under that request, the environment has 100 s of the five minutes left."""
        reader, event = rig.second, ocr_event()
        if operation == "get_item":
            rig.call(event)

        def freeze(name, arguments):
            kind = arguments.get("Item", arguments.get("Key", {})).get("kind", {}).get("S")
            if (name, kind) == (operation, "ENTRY"):
                rig.dynamodb.before = lambda *_: None
                rig.clock.freeze(200)

        rig.dynamodb.before = freeze
        told = []
        for seconds in (0, 99, 2):
            rig.clock.advance(seconds)
            rig.call(event, reader)
            told.append(rig.last["outcome"])

        assert [{"get_item": "hit_table", "put_item": "miss"}[operation], "hit_memory", "hit_table"] == told

    def test_a_memory_copy_lives_five_minutes(self, rig):
        """P11, S32: then the table is asked, so that an erase elsewhere is seen."""
        rig.call(ocr_event())
        rig.clock.advance(300)
        rig.call(ocr_event())

        assert ["miss", "hit_table"] == rig.outcomes

    @pytest.mark.parametrize(("context", "outcome"), [("OCR", "miss"), ("Extraction", "hit_table")])
    def test_orders_invalidate_a_context_everywhere(self, rig, context, outcome):
        """P44: seen within `IDENTITY`, without a delete and without a redeploy; other contexts stay."""
        for step in ("OCR", "Extraction"):
            rig.call(STEPS[step]())
        rig.clock.advance(1)
        rig.first.cache.control.amend(lambda _: Orders(not_before_ms={"OCR": rig.clock.now_ms()}))
        rig.clock.advance(61)
        rig.call(STEPS[context](), rig.second)

        assert outcome == rig.last["outcome"]
        assert ("invalidated" if outcome == "miss" else "") == rig.last["reason"]

    @pytest.mark.parametrize("soft", [False, True])
    def test_an_invalidation_during_a_fetch_reaches_its_answer(self, rig, soft):
        """P44: an answer is as old as its fetch: what it says may be from before."""

        def reply(event):
            rig.clock.advance(5)
            rig.first.cache.control.amend(lambda orders: orders.invalidated("OCR", rig.clock.now_ms(), soft=soft))
            rig.clock.advance(5)
            rig.backend.handler = lambda event: token_answer("after")
            return token_answer("before")

        rig.backend.handler = reply
        rig.call(ocr_event())
        rig.clock.advance(61)

        assert "after" == text_of(rig.call(ocr_event()))
        assert ("miss", "invalidated") == (rig.last["outcome"], rig.last["reason"])

    def test_orders_give_a_new_generation(self, rig):
        """P44, F38: every earlier entry becomes unreachable, and comes back with the old word."""
        rig.call(ocr_event())
        for generation in ("7", None):
            rig.first.cache.control.amend(lambda _, given=generation: Orders(generation=given))
            rig.clock.advance(61)
            rig.call(ocr_event())

        assert ["miss", "miss", "hit_memory"] == rig.outcomes

    def test_a_failed_fetch_may_be_answered_stale_where_that_is_allowed(self, make_rig):
        """P45: off by default; within its window, never past the hard end; outcome `stale`, the error in the receipt."""
        rig = make_rig(
            HOOKCACHE_MEMORY_SECONDS="10",
            **policy(OCR={"fresh_seconds": 100, "hard_seconds": 200, "stale_if_error": True}),
        )
        rig.call(ocr_event())
        rig.backend.handler = lambda event: BackendRaised("Overloaded", "no")
        rig.clock.advance(150)
        rig.call(ocr_event())
        assert ("stale", "Overloaded", {}) == (rig.last["outcome"], rig.last["error_type"], rig.last["units_saved"])

        rig.clock.advance(100)
        with pytest.raises(BackendFailed):
            rig.call(ocr_event())

    def test_stale_answers_are_off_by_default(self, make_rig):
        """P45, control."""
        rig = make_rig(HOOKCACHE_MEMORY_SECONDS="10", **policy(OCR={"fresh_seconds": 100, "hard_seconds": 200}))
        rig.call(ocr_event())
        rig.backend.handler = lambda event: BackendRaised("Overloaded", "no")
        rig.clock.advance(150)
        with pytest.raises(BackendFailed):
            rig.call(ocr_event())


class TestAdmission:
    @pytest.mark.parametrize(
        ("reply", "refusal"),
        [
            (answer("half", "max_tokens"), "truncated"),
            (answer("no", "guardrail_intervened"), "stop_reason"),
            (answer(" "), "blank_text"),
            ({"errorMessage": "x", "errorType": "y"}, "error_body"),
            ({}, "content"),
            ([], "not_an_object"),
            (None, "not_an_object"),
            ("text", "not_an_object"),
            (answer("a", inputTokens=-5), "usage"),
        ],
        ids=str,
    )
    def test_a_bad_answer_goes_to_the_caller_and_is_not_kept(self, rig, reply, refusal):
        """P14, S20, S21, S22, F24, F25: every repeat reaches the backend."""
        rig.backend.handler = lambda event: copy.deepcopy(reply) if reply is not None else b"null"
        for _ in range(2):
            told = rig.call(ocr_event())
            assert refusal == rig.last["refusal"]
            assert 1 == metric(rig.last, "Refusals")
            if refusal != "usage":
                assert reply == told
        assert (2, []) == (len(rig.backend.calls), rig.entries)

    def test_a_step_that_reads_json_gets_its_retry(self, rig):
        """P47, S24: malformed JSON is not replayed to the retry that was meant to repair it."""
        rig.backend.replies = [token_answer('{"total": '), json_answer({"total": "17.20"})]
        rig.call(extraction_event())
        repaired = rig.call(extraction_event())

        assert json_answer({"total": "17.20"}) == repaired
        assert "not_json" == rig.receipts[0]["refusal"]

    def test_a_failure_dressed_as_an_answer_is_not_pinned(self, rig):
        """P47, S23: `unclassified` is what a bridge says when its model failed."""
        rig.backend.handler = lambda event: json_answer({"class": "unclassified"})
        rig.call(STEPS["Classification"]())

        assert "refused_text" == rig.last["refusal"]

    def test_an_image_replaced_during_the_fetch_is_noticed(self, rig):
        """P15, F29, T6, S15: the caller gets the answer, the key keeps nothing."""
        uri = rig.image(b"page", name="temp/lambdahook/page.jpeg")

        def replace(event):
            rig.image(b"other", name="temp/lambdahook/page.jpeg")
            return token_answer()

        rig.backend.handler = replace
        rig.call(ocr_event(uri))

        assert ("miss", "image_changed", []) == (rig.last["outcome"], rig.last["refusal"], rig.entries)

    def test_sampling_requests_always_reach_the_backend(self, rig):
        """P16, S3: an absent temperature is the provider's default and no 0."""
        event = ocr_event()
        event["inferenceConfig"] = {}
        for _ in range(2):
            rig.call(event)

        assert (["bypass", "bypass"], "sampling") == (rig.outcomes, rig.last["reason"])

    def test_a_stored_nothing_is_no_miss(self, make_rig):
        """S29: an empty page that was charged for, kept on the operator's word, is an answer."""
        rig = make_rig(**policy(OCR={"blank_pages": True}))
        rig.backend.handler = lambda event: answer("", pages=1)
        rig.call(ocr_event())
        rig.call(ocr_event())

        assert ["miss", "hit_memory"] == rig.outcomes


class TestFailures:
    @pytest.mark.parametrize("times", [1, 3])
    def test_a_backends_error_is_its_own_and_is_not_kept(self, rig, times):
        """P17, F20, S26: type and message as the host would have seen them; the next call succeeds."""
        rig.backend.replies = [BackendRaised("ThrottlingException", f"Too many {CANARY}")] * times
        for _ in range(times):
            with pytest.raises(BackendFailed, match="Too many") as caught:
                rig.call(ocr_event())
            assert "ThrottlingException" == type(caught.value).__name__
            assert ("failed", "backend_failed", "ThrottlingException") == (
                rig.last["outcome"],
                rig.last["reason"],
                rig.last["error_type"],
            )
        rig.call(ocr_event())

        assert "miss" == rig.last["outcome"]

    @pytest.mark.parametrize("detail", ["full", "type"])
    @pytest.mark.parametrize(
        ("replies", "kind", "reason", "state"),
        [
            ([refusal("TooManyRequestsException")] * 2, BackendThrottled, "backend_throttled", "FREE"),
            ([read_timeout()], BackendFailed, "backend_timeout", "FAILED"),
            ([b"<html>"], BackendMalformed, "backend_malformed", "FAILED"),
            ([BackendRaised("Broken", CANARY)], BackendFailed, "backend_failed", "FAILED"),
        ],
        ids=["throttled", "timed out", "no JSON", "failed"],
    )
    def test_whose_failure_it_is_does_not_depend_on_the_words_kept_back(
        self, make_rig, detail, replies, kind, reason, state
    ):
        """P17, P28, P36: `error_detail=type` changes no reason in the receipt, and not what others share of it."""
        rig = make_rig(**policy(OCR={"error_detail": detail}))
        rig.backend.replies = list(replies)
        with pytest.raises(kind):
            rig.call(ocr_event())
        (lease,) = rig.dynamodb.of_kind("LEASE")

        assert (reason, state) == (rig.last["reason"], lease["state"]["S"])

    def test_an_operator_may_keep_the_backends_words_back(self, make_rig):
        """P36: `error_detail: type` leaves the type only."""
        rig = make_rig(**policy(OCR={"error_detail": "type"}))
        rig.backend.replies = [BackendRaised("ValidationException", f"bad {CANARY}")]
        with pytest.raises(BackendFailed) as caught:
            rig.call(ocr_event())

        assert ("ValidationException", False) == (type(caught.value).__name__, CANARY in str(caught.value))
        assert (None, True) == (caught.value.__cause__, caught.value.__suppress_context__)

    @pytest.mark.parametrize(("detail", "told"), [("type", False), ("full", True)])
    @pytest.mark.parametrize(
        ("event", "settings", "reason"),
        [
            (ocr_event() | {"inferenceConfig": {"temperature": 0.7}}, {}, "sampling"),
            (ocr_event("s3://elsewhere/page.jpeg"), {}, "image_not_allowed"),
            (ocr_event() | {"pageOutputUri": "s3://b/k"}, {}, "reference"),
            (ocr_event() | {"messages": []}, {}, "event_shape"),
            (ocr_event(), {"HOOKCACHE_MODE": "off"}, "mode_off"),
        ],
        ids=lambda each: each if isinstance(each, str) else "",
    )
    def test_nor_are_they_said_where_the_cache_is_not_used(self, make_rig, event, settings, reason, detail, told):
        """P36: the runtime logs what a bypassed request raises as well; `full`, the default, is the control."""
        rig = make_rig(**policy(**{"*": {"error_detail": detail}}), **settings)
        rig.charged_hits = True
        rig.backend.replies = [page_answer(), BackendRaised("ValidationException", f"bad {CANARY}")]
        rig.call(event)
        assert ("bypass", reason) == (rig.last["outcome"], rig.last["reason"])
        with pytest.raises(BackendFailed) as caught:
            rig.call(event)

        assert ("ValidationException", told) == (type(caught.value).__name__, CANARY in str(caught.value))

    @pytest.mark.parametrize(
        ("reply", "error", "reason"),
        [
            (b"<html>", BackendMalformed, "backend_malformed"),
            (b"\xff\xfe", BackendMalformed, "backend_malformed"),
            (b"", BackendMalformed, "backend_malformed"),
            (b"[" * 100_000, BackendMalformed, "backend_malformed"),
            (read_timeout(), BackendFailed, "backend_timeout"),
            (
                BackendRaised("Sandbox.Timedout", "x Task timed out after 3.00 seconds"),
                BackendFailed,
                "backend_timeout",
            ),
            (refusal("ResourceNotFoundException"), BackendFailed, "backend_failed"),
            (refusal("AccessDeniedException"), BackendFailed, "backend_failed"),
            (EndpointConnectionError(endpoint_url="x"), BackendFailed, "backend_failed"),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_a_reply_that_is_none(self, rig, reply, error, reason):
        """F21, F24, P28: the error and its reason; the lease is freed, so the next caller need not wait."""
        rig.backend.replies = [reply]
        with pytest.raises(error):
            rig.call(ocr_event())
        assert reason == rig.last["reason"]

        rig.call(ocr_event(), rig.second)
        assert ("miss", []) == (rig.last["outcome"], rig.clock.slept)

    def test_a_throttled_invoke_is_tried_once_more(self, rig):
        """P22, F23, S39: one retry, only when the invoke itself was throttled."""
        rig.backend.replies = [refusal("TooManyRequestsException")]
        rig.call(ocr_event())
        assert ("miss", 2) == (rig.last["outcome"], len(rig.backend.calls))

        rig.backend.replies = [refusal("TooManyRequestsException")] * 5
        with pytest.raises(BackendThrottled):
            rig.call(summarization_event())
        assert 4 == len(rig.backend.calls)

    @pytest.mark.parametrize(
        "reply", [BackendRaised("X", "y"), read_timeout(), b"<html>", answer("", "max_tokens")], ids=repr
    )
    def test_everything_else_is_asked_once(self, rig, reply):
        """P22, S39: one invoke is one call of the backend."""
        rig.backend.replies = [reply]
        try:
            rig.call(ocr_event())
        except Exception:
            assert "failed" == rig.last["outcome"]

        assert 1 == len(rig.backend.calls)

    @pytest.mark.parametrize("seconds", [0, 0.5, 1.0])
    def test_no_time_left_is_no_time(self, rig, seconds):
        """P21, S40, F22: 0 ms is not `unknown`; the handler raises at least a second before its end."""
        with pytest.raises(DeadlineTooClose):
            rig.call(ocr_event(), seconds=seconds)

        assert ("deadline", 0) == (rig.last["reason"], len(rig.backend.calls))

    @pytest.mark.parametrize(("seconds", "listens"), [(300, 125), (60, 59), (10.5, 9)])
    def test_we_listen_no_longer_than_our_own_time(self, rig, seconds, listens):
        """P21, P22: the backend's own timeout and 5 s, or what is left less a second."""
        rig.call(ocr_event(), seconds=seconds)

        assert [listens] == rig.backend.read_seconds

    def test_a_context_that_cannot_tell_the_time_has_no_end(self, rig):
        """P21: a direct call in a test or a script."""
        rig.first.hook(ocr_event(), None)
        rig.invocations += 1
        rig.charged_hits = True

        assert "miss" == rig.last["outcome"]


class TestAnEventThatItsOwnerChanges:
    """P1, P5, S15: in process the caller holds the very event, and may change it while the table is asked."""

    EVENTS: ClassVar = {
        "short": lambda text, page: ocr_event(page, text=text),
        "too long to be named": lambda text, page: ocr_event(page, text=text + "x" * 300_000),
        "another kind of mapping": lambda text, page: OrderedDict(ocr_event(page, text=text)),
    }
    POLICIES: ClassVar = {"": {}, "references": {"resolve_references": ["pageOutputUri"]}}

    def asked_while_changed(self, rig, make, *, back=False):
        """
        An event's text and page are changed once its key is made, and put `back` once its answer is there; then somebody
        asks honestly what it said before. What that one gets.
        """
        pages = [rig.image(b"page A"), rig.image(b"page B")]
        event = make("Question A", pages[0])

        def turned(block, old, new):
            if "text" in block:
                block["text"] = block["text"].replace(f"Question {old}", f"Question {new}")
            else:
                block["image"]["source"]["s3Location"]["uri"] = pages["AB".index(new)]

        def change(operation, arguments):
            kind = arguments["Key"]["kind"]["S"] if operation == "update_item" else ""
            for block in event["messages"][0]["content"] if kind == "LEASE" else ():
                turned(block, "A", "B")

        def read(given):
            text, page = given["messages"][0]["content"]
            asked = "A" if "Question A" in text["text"] else "B"
            said = f"{asked} of page {'AB'[pages.index(page['image']['source']['s3Location']['uri'])]}"
            for block in event["messages"][0]["content"] if back else ():
                turned(block, "B", "A")
            return answer(said)

        rig.backend.handler = read
        rig.dynamodb.before = change
        rig.call(event)
        rig.dynamodb.before = lambda *_: None
        return text_of(rig.call(make("Question A", pages[0])))

    @pytest.mark.parametrize("back", [False, True], ids=["changed", "and put back"])
    @pytest.mark.parametrize("rules", POLICIES.values(), ids=POLICIES)
    @pytest.mark.parametrize("make", EVENTS.values(), ids=EVENTS)
    def test_the_answer_to_one_question_is_never_kept_for_another(self, make_rig, make, rules, back):
        """It is held as it was keyed, and the backend is asked that."""
        rig = make_rig(**policy(**{"*": rules}))

        assert "A of page A" == self.asked_while_changed(rig, make, back=back)
        assert ["miss", "hit_memory"] == rig.outcomes

    @pytest.mark.parametrize("back", [False, True], ids=["changed", "and put back"])
    def test_control_unless_it_is_held_it_is(self, make_rig, monkeypatch, back):
        """Control: where the owner's very event goes to the backend, the other question's answer is served."""
        monkeypatch.setattr("hookcache.memo.held", lambda event: event)

        assert "B of page B" == self.asked_while_changed(make_rig(), self.EVENTS["too long to be named"], back=back)

    @pytest.mark.parametrize("make", EVENTS.values(), ids=EVENTS)
    def test_nor_for_what_it_became_before_its_key_was_made(self, rig, make):
        """The operator's orders are read first, and take their time: keyed is what was asked, as it is what the backend hears."""
        page = rig.image(b"page")
        event = make("Question A", page)

        def change(operation, arguments):
            text = event["messages"][0]["content"][0]
            text["text"] = text["text"].replace("Question A", "Question B")

        rig.backend.handler = lambda given: answer(given["messages"][0]["content"][0]["text"][:10])
        rig.dynamodb.before = change
        rig.call(event)
        rig.dynamodb.before = lambda *_: None
        honest = [text_of(rig.call(make(question, page))) for question in ("Question A", "Question B")]

        assert ["Question A", "Question B"] == honest
        assert ["miss", "hit_memory", "miss"] == rig.outcomes

    def test_nor_where_it_was_remembered(self, make_rig):
        """An event's digests are remembered for longer than its answer is fresh here; the backend is asked what was remembered."""
        rig = make_rig(**policy(**{"*": {"fresh_seconds": 60}}))
        rig.call(summarization_event("question A"))
        rig.clock.advance(100)
        event = summarization_event("question A")

        def change(operation, arguments):
            if operation == "update_item" and arguments["Key"]["kind"]["S"] == "LEASE":
                event["messages"][0]["content"][0]["text"] = "question B"

        rig.dynamodb.before = change
        rig.call(event)

        assert [summarization_event("question A")] * 2 == rig.backend.calls
        assert ["miss", "miss"] == rig.outcomes

    def test_one_that_changes_while_it_is_read_goes_past_the_cache(self, make_rig):
        """P18: and to the backend as it is then."""

        class Changing(OrderedDict):
            def __copy__(self):
                raise RuntimeError("dictionary changed size during iteration")

        rig = make_rig()
        answered = rig.call(Changing(summarization_event()))

        assert "content" in answered["output"]["message"]
        assert ("bypass", "event_shape") == (rig.last["outcome"], rig.last["reason"])


class TestTable:
    @pytest.mark.parametrize("operation", ["get_item", "update_item", "put_item", "batch_write_item"])
    @pytest.mark.parametrize(
        "error",
        [
            EndpointConnectionError(endpoint_url="x"),
            refusal("ProvisionedThroughputExceededException"),
            refusal("AccessDeniedException"),
            refusal("ResourceNotFoundException"),
            refusal("InternalServerError"),
            OSError("name resolution"),
        ],
        ids=lambda error: str(error)[:40],
    )
    def test_no_table_trouble_fails_a_request(self, rig, operation, error):
        """P18, P20, S46, S47, F1, F4-F7: whatever operation fails, the backend's answer goes out."""
        rig.dynamodb.misbehave(error, operation=operation)
        for _ in range(3):
            told = rig.call(ocr_event())
            assert "end_turn" == told["stopReason"]

        assert rig.dynamodb.faulted

    @pytest.mark.parametrize(
        ("step", "told"),
        [
            ("prepare", ("bypass", "internal", "")),
            ("recall", ("bypass", "internal", "")),
            ("flights.board", ("bypass", "internal", "")),
            ("index", ("miss", "absent", "not_indexed")),
            ("keep", ("miss", "absent", "store_failed")),
        ],
    )
    def test_an_error_of_our_own_is_told_by_its_type(self, rig, monkeypatch, step, told):
        """P18, P20, P31: wherever it is, the backend answers; docs/operations.md sends who sees `internal` to `error_type`."""

        def broken(*_, **__):
            raise ZeroDivisionError

        *inside, name = step.split(".")
        monkeypatch.setattr(rig.first.cache.flights if inside else rig.first.cache, name, broken)
        rig.call(ocr_event())

        assert (*told, "ZeroDivisionError") == tuple(
            rig.last[name] for name in ("outcome", "reason", "refusal", "error_type")
        )
        assert ([], 1) == (rig.entries, len(rig.backend.calls))

    def test_trouble_with_a_leaders_answer_asks_the_backend(self, rig, monkeypatch):
        """P18, P54, P57: a follower gets an answer of its own, which is kept as little as any without a lease."""

        def broken(_):
            raise MemoryError

        rig.call(ocr_event())
        entry = next(iter(rig.first.cache._memory._copies.values())).entry
        monkeypatch.setattr(rig.first.cache.flights, "board", lambda *_, **__: Landed(entry))
        monkeypatch.setattr(Entry, "saved", broken)
        rig.backend.replies = [token_answer("its own")]
        told = rig.call(ocr_event(), wishes={"refresh": True})

        assert "its own" == told["output"]["message"]["content"][0]["text"]
        assert ("bypass", "internal", "MemoryError") == tuple(
            rig.last[name] for name in ("outcome", "reason", "error_type")
        )
        assert ({}, 2) == (rig.last["units_saved"], len(rig.backend.calls))

    @pytest.mark.parametrize("fails", [True, False], ids=["it fails", "control"])
    def test_trouble_with_judging_a_leaders_answer_asks_the_backend(self, rig, monkeypatch, fails):
        """P18, P54: whether it may be served to this caller is asked under the same guard."""

        def broken(*_):
            raise ZeroDivisionError

        rig.call(ocr_event())
        entry = next(iter(rig.first.cache._memory._copies.values())).entry
        monkeypatch.setattr(rig.first.cache.flights, "board", lambda *_, **__: Landed(entry))
        if fails:
            monkeypatch.setattr(rig.first.cache, "may_serve", broken)
        rig.call(ocr_event(), wishes={"refresh": True})

        assert (("bypass", "internal", "ZeroDivisionError", 2) if fails else ("collapsed", "", "", 1)) == (
            *[rig.last[name] for name in ("outcome", "reason", "error_type")],
            len(rig.backend.calls),
        )

    def test_a_dead_table_is_not_asked_for_ever(self, rig):
        """P19, F1: after three failures the breaker is open; then at most one probe a second."""
        rig.dynamodb.misbehave(EndpointConnectionError(endpoint_url="x"))
        rig.call(ocr_event())
        before = len(rig.dynamodb.calls)
        for _ in range(20):
            rig.call(ocr_event())
            assert "bypass" == rig.last["outcome"]

        assert len(rig.dynamodb.calls) - before <= 6

    @pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
    @pytest.mark.parametrize("seconds", [None, 1, 400], ids=["cold", "warm", "orders due"])
    @pytest.mark.parametrize("died_after", range(8))
    def test_a_table_that_dies_under_a_request_is_waited_for_twice_at_most(self, rig, died_after, seconds, large):
        """P19: whenever it stops answering, at the first operation or at the last; each that hangs takes a budget."""
        rig.backend.handler = lambda event: token_answer(random_text(900_000) if large else "small")
        if seconds is not None:
            rig.call(ocr_event())
            rig.clock.advance(seconds)
        asked = []

        def hang(operation, arguments):
            asked.append(operation)
            if len(asked) > died_after:
                raise NotInTime

        rig.dynamodb.faulted, rig.dynamodb.before = True, hang
        told = rig.call(summarization_event())

        assert "end_turn" == told["stopReason"]
        assert len(asked) - died_after <= 2

    def test_a_truncated_reply_is_no_miss(self, rig):
        """P18, F4: botocore makes `{}` of a reply that was cut short; it is an error and not `no such item`."""
        rig.call(ocr_event())
        rig.dynamodb.misbehave(cut=True, operation="get_item", kind="ENTRY")
        rig.call(ocr_event(), rig.second)

        assert "absent" != rig.last["reason"]
        assert metric(rig.last, "TableErrors") > 0

    def test_an_answer_without_a_lease_is_not_kept(self, rig):
        """P54, F5: a fill that passes no lease could pass a tombstone."""
        rig.dynamodb.misbehave(refusal("ThrottlingException"), operation="update_item", kind="LEASE")
        rig.call(ocr_event())

        assert ("bypass", "unleased", []) == (rig.last["outcome"], rig.last["reason"], rig.entries)
        assert 1 == metric(rig.last, "TableErrors")

    @pytest.mark.parametrize("mode", ["on", "observe", "write_only"])
    def test_a_lease_that_the_table_refuses_is_a_table_error(self, make_rig, mode):
        """F5, F7, P54: the alarm on the table hears of it, also where every look-up works or nobody looks up."""
        rig = make_rig(HOOKCACHE_MODE=mode)
        rig.dynamodb.misbehave(refusal("AccessDeniedException"), operation="update_item", kind="LEASE")
        rig.call(summarization_event())

        assert 1 == metric(rig.last, "TableErrors")

    @pytest.mark.parametrize("mode", ["on", "observe", "read_only", "write_only"])
    def test_each_request_past_a_dead_table_is_one_table_error(self, make_rig, mode):
        """F1, P50: in every mode that uses the table, and no request counts it twice."""
        rig = make_rig(HOOKCACHE_MODE=mode)
        rig.dynamodb.misbehave(EndpointConnectionError(endpoint_url="x"))
        for _ in range(5):
            rig.call(summarization_event())

        assert [1] * 5 == [metric(receipt, "TableErrors") for receipt in rig.receipts]

    @pytest.mark.parametrize("mode", ["observe", "write_only"])
    def test_control_a_leader_met_by_who_never_waits_is_no_table_error(self, make_rig, mode):
        """P54: its answer is not kept, and nothing is wrong with the table."""
        rig = make_rig(HOOKCACHE_MODE=mode)
        rig.call(summarization_event())
        (lease,) = rig.dynamodb.of_kind("LEASE")
        rig.dynamodb.items.clear()
        rig.dynamodb.plant(lease | {"state": {"S": "HELD"}, "end_ms": {"N": str(rig.clock.now_ms() + 30_000)}})
        rig.call(summarization_event(), rig.second)

        assert ([], 0) == (rig.entries, metric(rig.last, "TableErrors"))
        rig.dynamodb.items.clear()  # the leader that was planted never ends

    def test_an_answer_that_an_erase_could_not_find_is_not_kept(self, rig):
        """P46, P54: its index could not be written."""
        rig.dynamodb.misbehave(refusal("ThrottlingException"), operation="batch_write_item")
        rig.call(ocr_event())

        assert ("miss", "not_indexed", []) == (rig.last["outcome"], rig.last["refusal"], rig.entries)

    @pytest.mark.parametrize("hopeless", [True, False], ids=["as it is", "control: they hope"])
    @pytest.mark.parametrize("way", ["index", "bucket"])
    def test_nobody_queues_where_nothing_can_be_stored(self, make_rig, monkeypatch, way, hopeless):
        """P18, P48: without a right to write, all callers of one page would take turns, and the last ones fail."""
        rig = make_rig(HOOKCACHE_IDENTITY="pinned", HOOKCACHE_WAIT_SECONDS="250")
        rig.backend.handler = lambda event: token_answer(random_text(900_000))
        if way == "index":
            rig.dynamodb.misbehave(refusal("AccessDeniedException"), operation="batch_write_item")
        else:
            rig.s3.misbehave("no_put")
        if not hopeless:
            monkeypatch.setattr(Leader, "hopeless", property(lambda self: False, lambda self, _: None), raising=False)
        rig.call(summarization_event())
        assert rig.backend.waiting.acquire(timeout=60)
        rig.backend.gate.clear()
        others = [rig.cold_start() for _ in range(3)]
        callers = [threading.Thread(target=quietly, args=(rig, summarization_event(), each)) for each in others]
        for caller in callers:
            caller.start()
        assert all(rig.backend.waiting.acquire(timeout=60) for _ in callers)  # they wait by a clock that flies
        rig.backend.gate.set()
        for caller in callers:
            caller.join(60)

        assert hopeless == (rig.clock.slept == [])

    @pytest.mark.parametrize(
        ("operation", "error"),
        [
            ("batch_write_item", refusal("ThrottlingException")),
            ("put_item", refusal("ProvisionedThroughputExceededException")),
            ("put_item", EndpointConnectionError(endpoint_url="x")),
        ],
        ids=["index", "entry", "no connection"],
    )
    def test_where_storing_fails_twice_in_a_minute_nobody_queues(self, make_rig, operation, error):
        """P28, P48: under a throttle that lasts, callers of one page took turns, and the last ones failed; a moment is none."""
        rig = make_rig(HOOKCACHE_IDENTITY="pinned")
        kind = "ENTRY" if operation == "put_item" else ""
        rig.dynamodb.misbehave(error, operation=operation, kind=kind)
        left = []
        for seconds in (61, 1, 1, 61, 1):
            rig.call(summarization_event(), rig.cold_start())
            (lease,) = rig.dynamodb.of_kind("LEASE")
            left.append((lease["state"]["S"], lease["note"]["S"]))
            rig.clock.advance(seconds)
        rig.dynamodb.behave()
        rig.call(summarization_event(), rig.cold_start())
        (lease,) = rig.dynamodb.of_kind("LEASE")

        assert [("DONE", "UNKEPT")] * 2 + [("REFUSED", "REFUSED")] * 2 + [("DONE", "UNKEPT")] == left
        assert ("DONE", False, 1) == (lease["state"]["S"], "note" in lease, len(rig.entries))

    def test_nobody_queues_where_keeping_an_answer_fails_by_itself(self, rig):
        """P20, P48: the answer goes out, and nobody waits for what cannot be kept."""

        def fail(*_, **__):
            raise MemoryError

        rig.first.cache.keep = fail
        told = rig.call(ocr_event())
        (lease,) = rig.dynamodb.of_kind("LEASE")

        assert ("end_turn", "store_failed", "MemoryError") == (
            told["stopReason"],
            rig.last["refusal"],
            rig.last["error_type"],
        )
        assert ("REFUSED", "REFUSED") == (lease["state"]["S"], lease["note"]["S"])

    def test_a_lost_overflow_object_is_a_miss(self, rig):
        """P49, S45, F10: missing, cut or swapped; refilled by the next caller."""
        rig.backend.handler = lambda event: token_answer(random_text(900_000))
        rig.call(ocr_event())
        (name,) = rig.s3.names("hookcache-overflow")
        rig.s3.put_object(Bucket="hookcache-overflow", Key=name, Body=b"planted")
        rig.call(ocr_event(), rig.second)
        rig.call(ocr_event(), rig.cold_start())

        assert ["miss", "miss", "hit_table"] == rig.outcomes
        assert "corrupt" == rig.receipts[1]["reason"]

    @pytest.mark.parametrize("kilobytes", [340, 360, 399, 401, 700])
    def test_large_answers_are_kept(self, rig, kilobytes):
        """P49, S43: on both sides of every limit, and incompressible."""
        text = random_text(kilobytes * 1024)
        rig.backend.handler = lambda event: token_answer(text)
        rig.call(ocr_event())

        assert text == rig.call(ocr_event(), rig.second)["output"]["message"]["content"][0]["text"]
        assert "hit_table" == rig.last["outcome"]

    def test_without_a_bucket_nobody_queues_for_what_is_too_large(self, make_rig):
        """P48, P49: the next answer would be as large."""
        rig = make_rig(HOOKCACHE_OVERFLOW_BUCKET=None)
        rig.backend.handler = lambda event: token_answer(random_text(900_000))
        rig.call(ocr_event())
        (lease,) = rig.dynamodb.of_kind("LEASE")

        assert ("answer_size", "REFUSED", []) == (rig.last["refusal"], lease["state"]["S"], rig.entries)

    def test_an_answer_over_the_limit_is_refused(self, rig):
        """P49, S43: 6.2 MB; the caller gets it all the same."""
        text = "x" * 6_200_000
        rig.backend.handler = lambda event: token_answer(text)

        assert text == rig.call(ocr_event())["output"]["message"]["content"][0]["text"]
        assert "answer_size" == rig.last["refusal"]


def random_text(size):
    import random

    return "".join(random.Random(7).choices([chr(number) for number in range(0x4E00, 0x9E00)], k=size // 3))


class TestFlights:
    def test_a_follower_gets_the_leaders_answer(self, rig):
        """P23, P24, S34: two environments, one backend call; the follower's units are zeros."""
        replies = race(rig, ocr_event())

        assert 1 == len(rig.backend.calls)
        assert {"miss", "collapsed"} == set(rig.outcomes)
        assert replies[0]["output"] == replies[1]["output"]

    def test_callers_in_one_process_share_a_fetch(self, rig):
        """P23, P28: at most one backend call per key and process, table or not."""
        rig.dynamodb.misbehave(EndpointConnectionError(endpoint_url="x"))
        for _ in range(3):
            rig.call(summarization_event("warm up"))
        before = len(rig.backend.calls)
        rig.backend.gate.clear()
        callers = [threading.Thread(target=rig.call, args=(ocr_event(),)) for _ in range(4)]
        for caller in callers:
            caller.start()
        flights = rig.first.cache.flights._flights
        assert eventually(lambda: 3 == sum(len(flight.over._cond._waiters) for flight in tuple(flights.values())))
        rig.backend.gate.set()
        for caller in callers:
            caller.join(60)

        assert 1 == len(rig.backend.calls) - before
        assert 7 == len(rig.receipts)

    def test_followers_fail_with_the_backend_and_nobody_after_them(self, rig):
        """P17, S37, F36: the backend's own failure is shared with those who waited; the next caller asks anew."""
        rig.backend.replies = [BackendRaised("ThrottlingException", "Too many")]
        replies = race(rig, ocr_event())

        assert ["ThrottlingException"] * 2 == [type(reply).__name__ for reply in replies]
        assert {"backend_failed", "shared_failure"} == {receipt["reason"] for receipt in rig.receipts}
        rig.call(ocr_event())
        assert "miss" == rig.last["outcome"]

    def test_a_refused_answer_serialises_nobody(self, rig):
        """P48, S41: a waiting follower goes on at once and without a lease; so does everybody for a minute."""
        rig.backend.handler = lambda event: answer("", "max_tokens")
        race(rig, ocr_event())
        slept = len(rig.clock.slept)
        rig.call(ocr_event(), rig.cold_start())

        assert 3 == len(rig.backend.calls)
        assert slept == len(rig.clock.slept)
        assert {"absent": 2, "refusal_window": 1} == Counter(receipt["reason"] for receipt in rig.receipts)

    def test_in_the_minute_after_a_refusal_nobody_waits_for_who_asks(self, rig):
        """P48, P54: elsewhere as well: the lease that is held says so."""
        rig.backend.handler = lambda event: answer("", "max_tokens")
        rig.call(ocr_event())
        assert rig.backend.waiting.acquire(blocking=False), "this call's own"
        leader = start(rig, ocr_event())
        beside = threading.Thread(target=rig.call, args=(ocr_event(), rig.second))
        beside.start()
        asked = rig.backend.waiting.acquire(timeout=20)
        rig.backend.gate.set()
        for caller in (leader, beside):
            caller.join(60)

        assert (True, []) == (asked, rig.clock.slept)
        assert Counter({"absent": 2, "refusal_window": 1}) == Counter(receipt["reason"] for receipt in rig.receipts)

    def test_a_follower_waits_no_longer_than_it_may(self, make_rig):
        """P27, S40: min(`WAIT`, remaining less a second), then a retryable error."""
        rig = make_rig(HOOKCACHE_WAIT_SECONDS="20")
        leader = start(rig, ocr_event())
        for seconds, waited in ((300, 20), (10, 9)):
            before = rig.clock.elapsed()
            with pytest.raises(FollowerTimedOut, match="or within what was left"):
                rig.call(ocr_event(), rig.second, seconds=seconds)
            assert waited == pytest.approx(rig.clock.elapsed() - before, abs=1.1)
            assert "follower_timed_out" == rig.last["reason"]
        rig.backend.gate.set()
        leader.join(60)

    def test_a_follower_may_ask_for_itself_where_the_operator_says_so(self, make_rig):
        """P27, P54: `delegate_after_wait`: once its wait is over, by a call of its own whose answer is not kept."""
        rig = make_rig(HOOKCACHE_WAIT_SECONDS="5", **policy(OCR={"delegate_after_wait": True}))
        leader = start(rig, ocr_event())
        follower = threading.Thread(target=rig.call, args=(ocr_event(), rig.second))
        follower.start()
        assert rig.backend.waiting.acquire(timeout=60), "it never asked for itself"
        waited = sum(rig.clock.slept)
        rig.backend.gate.set()
        for caller in (leader, follower):
            caller.join(60)

        assert 5 == pytest.approx(waited)
        assert [("bypass", "unleased"), ("miss", "absent")] == sorted(
            (receipt["outcome"], receipt["reason"]) for receipt in rig.receipts
        )

    def test_a_leader_that_finds_the_answer_after_all_says_so(self, rig):
        """P24: who waits for it takes that answer; a lease that was only let go would make each of them lead in turn."""
        rig.call(ocr_event())
        table = rig.second.cache._table
        look = table.get
        table.get = lambda key, *, consistent: look(key, consistent=True) if consistent else Missing(Reason.ABSENT)
        rig.clock.advance(1)
        told = rig.call(ocr_event(), rig.second)
        (lease,) = rig.dynamodb.of_kind("LEASE")

        assert told["output"] == rig.answers[0]["output"]
        assert (["miss", "hit_table"], 1, "DONE") == (rig.outcomes, len(rig.backend.calls), lease["state"]["S"])
        assert rig.clock.now_ms() == int(lease["fence"]["N"])

    def test_an_answer_that_a_leader_finds_after_all_is_checked_by_no_call(self, make_rig):
        """P24, P59: those who wait for it would wait for the check as well."""
        rig = make_rig(**policy(OCR={"check_share": 1}))
        rig.call(ocr_event())
        table = rig.second.cache._table
        look = table.get
        table.get = lambda key, *, consistent: look(key, consistent=True) if consistent else Missing(Reason.ABSENT)
        rig.clock.advance(1)
        rig.call(ocr_event(), rig.second)

        assert (["miss", "hit_table"], 1) == (rig.outcomes, len(rig.backend.calls))

    def test_a_followers_look_passes_its_memory_and_is_consistent(self, rig):
        """P13, P24: what it waited for may be newer than what an eventual read, or this environment, has."""
        looks = []
        recall = rig.second.cache._table.get

        def look(key, *, consistent):
            looks.append(consistent)
            return recall(key, consistent=consistent)

        rig.second.cache._table.get = look
        race(rig, ocr_event())

        assert {"miss", "collapsed"} == set(rig.outcomes)
        assert [False, True] == looks

    def test_who_has_no_lease_hears_the_backends_own_error(self, rig, monkeypatch):
        """P17, P54: and nobody else hears of it."""
        monkeypatch.setattr(rig.first.cache.flights, "board", lambda *_, **__: Alone(Reason.REFUSAL_WINDOW))
        rig.backend.replies = [BackendRaised("Overloaded", "no")]
        with pytest.raises(BackendFailed) as raised:
            rig.call(ocr_event())

        assert ("Overloaded", "backend_failed") == (raised.value.error_type, rig.last["reason"])

    def test_trouble_of_ours_keeps_no_answer_from_who_has_no_lease(self, rig, monkeypatch):
        """P18, P20: as little as from a leader."""

        def broken(*_, **__):
            raise ZeroDivisionError

        monkeypatch.setattr(rig.first.cache.flights, "board", lambda *_, **__: Alone(Reason.REFUSAL_WINDOW))
        monkeypatch.setattr(rig.first.cache, "keep", broken)
        told = rig.call(ocr_event())

        assert "end_turn" == told["stopReason"]
        assert ("bypass", "refusal_window", "ZeroDivisionError") == tuple(
            rig.last[name] for name in ("outcome", "reason", "error_type")
        )

    def test_a_dead_leader_is_succeeded(self, rig):
        """P26, S35, F16: after its lease, and with a larger fence."""
        rig.call(ocr_event())
        (lease,) = rig.dynamodb.of_kind("LEASE")
        end = rig.clock.now_ms() + 30_000
        dead = {"state": {"S": "HELD"}, "owner": {"S": "dead"}, "end_ms": {"N": str(end)}}
        rig.dynamodb.items.clear()
        rig.dynamodb.plant(lease | dead)
        rig.call(ocr_event(), rig.second)
        (after,) = rig.dynamodb.of_kind("LEASE")

        assert ("miss", "DONE") == (rig.last["outcome"], after["state"]["S"])
        assert int(lease["fence"]["N"]) < int(after["fence"]["N"])
        assert rig.clock.now_ms() - (end - 30_000) <= 33_000

    def test_a_late_result_is_kept(self, rig):
        """P53, S38: the caller gave up; the host's retry is answered from what the leader stored."""
        rig.backend.seconds = 75
        rig.call(ocr_event(), seconds=300)
        rig.call(ocr_event(), rig.second)

        assert ["miss", "hit_table"] == rig.outcomes

    @pytest.mark.parametrize("one", [True, False], ids=["one invocation", "control: two"])
    def test_a_second_cache_around_the_same_handler_bypasses(self, rig, one):
        """P28: a decorator that hides the first cache from the second must not make it wait for the lease of the other."""
        handler = CallableBackend(lambda event, context: answer("read"))
        inner = rig.second.assembly.hook(handler, BackendIdentity(b"twice"))
        told = FakeContext(rig.clock)
        beneath = told if one else FakeContext(rig.clock)
        outer = rig.first.assembly.hook(
            CallableBackend(lambda event, _: inner(event, beneath)), BackendIdentity(b"twice")
        )
        assert answer("read") == outer(ocr_event(), told)
        assert one == (rig.clock.slept == [])
        if one:
            told_by = [(each["outcome"], each["reason"], metric(each, "TableErrors")) for each in rig.receipts]
            assert [("bypass", "nested", 0), ("miss", "absent", 0)] == told_by
            assert 1 == len(rig.entries)
        rig.stdout.text = rig.stdout.text.splitlines(keepends=True)[-1]  # one invocation counts once (P31)
        rig.invocations = 1

    def test_a_nested_call_for_the_same_key_bypasses(self, rig):
        """P28, S42: a backend that calls the hook again in the same thread must not wait for itself."""

        calls = []

        def nested(event, context):
            calls.append(event)
            if len(calls) == 1:
                hook(event, context)
            return answer("nested")

        hook = rig.first.assembly.hook(CallableBackend(nested), BackendIdentity(b"nested"))
        hook(ocr_event(), SimpleNamespace())
        rig.invocations += 2

        assert [("bypass", "nested"), ("miss", "absent")] == [
            (each["outcome"], each["reason"]) for each in rig.receipts
        ]

    @pytest.mark.parametrize("stale", [False, True], ids=["", "stale if error"])
    def test_a_handlers_own_error_is_not_asked_for_what_it_may_not_have(self, make_rig, stale):
        """F20, P45: some errors hand unknown names on to what they wrap, and fail if there is nothing; the host reads their own type."""

        class Wrapping(Exception):
            def __getattr__(self, name):
                if name.startswith("_"):
                    raise AttributeError(name)  # or no test runner could print it
                raise RuntimeError(name)

        def handler(event, context):
            if failing:
                raise Wrapping("out of paper")
            return answer("read")

        failing = False
        rules = {"fresh_seconds": 400, "stale_if_error": True, "hard_seconds": 4000} if stale else {}
        rig = make_rig(**policy(OCR=rules))
        hook = rig.first.assembly.hook(CallableBackend(handler), BackendIdentity(b"own"))
        hook(ocr_event(), FakeContext(rig.clock))
        rig.clock.advance(500 if stale else 8 * 86_400)
        failing = True
        rig.invocations += 2
        if stale:
            hook(ocr_event(), FakeContext(rig.clock))
            assert ("stale", "Wrapping") == (rig.last["outcome"], rig.last["error_type"])
        else:
            with pytest.raises(Wrapping, match="out of paper") as raised:
                hook(ocr_event(), FakeContext(rig.clock))
            rig.errors.append(Exception(str(raised.value)))
            assert ("failed", "Wrapping") == (rig.last["outcome"], rig.last["error_type"])

    def test_an_error_type_of_the_operators_list_is_not_repeated_for_a_minute(self, make_rig):
        """P17: negative notes hold the type and no message."""
        rig = make_rig(**policy(OCR={"negative_errors": ["ValidationException"]}))
        rig.backend.replies = [BackendRaised("ValidationException", f"bad {CANARY}")]
        for environment in (rig.first, rig.second):
            with pytest.raises(BackendFailed) as caught:
                rig.call(ocr_event(), environment)
        assert (1, False) == (len(rig.backend.calls), CANARY in str(caught.value))

        rig.clock.advance(61)
        rig.call(ocr_event())
        assert "miss" == rig.last["outcome"]


def start(rig, event, environment=None):
    """A caller whose backend call is held at the gate."""
    rig.backend.gate.clear()
    assert rig.first is not rig.second
    caller = threading.Thread(target=lambda: quietly(rig, event, environment))
    caller.start()
    assert rig.backend.waiting.acquire(timeout=60)
    return caller


def quietly(rig, event, environment=None):
    try:
        return rig.call(event, environment)
    except BackendFailed as error:
        return error


def race(rig, event):
    """A leader in the first environment and a follower in the second that has begun to wait before the backend answers."""
    replies = []
    assert rig.first is not rig.second
    rig.backend.gate.clear()
    leader = threading.Thread(target=lambda: replies.append(quietly(rig, event)))
    leader.start()
    assert rig.backend.waiting.acquire(timeout=60)

    def let_the_leader_finish(seconds):
        if not rig.backend.gate.is_set():
            rig.backend.gate.set()
            leader.join(60)

    rig.clock.on_sleep = let_the_leader_finish
    replies.append(quietly(rig, event, rig.second))
    leader.join(60)
    rig.clock.on_sleep = lambda seconds: None
    return replies


class TestModes:
    def test_off_equals_no_wrapper(self, make_rig):
        """P50, S58: nothing is read or written, and the payload passes through unrepaired."""
        rig = make_rig(HOOKCACHE_MODE="off")
        rig.charged_hits = True
        bad = answer("a") | {"usage": {"inputTokens": "many"}}
        rig.backend.handler = lambda event: bad
        for _ in range(2):
            assert bad == rig.call(ocr_event(rig.image(b"page")))

        assert ([], 0) == (rig.dynamodb.calls, rig.s3.count("get_object"))
        assert ("bypass", "mode_off") == (rig.last["outcome"], rig.last["reason"])

    def test_a_bypassed_answer_has_no_usage_that_harms_the_host(self, rig):
        """P33: past the cache as through it; only `off` hands on what came, as if nobody were in between."""
        rig.charged_hits = True
        rig.backend.handler = lambda event: answer("a") | {"usage": {"inputTokens": 3, "cost": -1}}
        told = rig.call(ocr_event(), wishes={"bypass": True})

        assert ("bypass", "requested", {"inputTokens": 3}) == (rig.last["outcome"], rig.last["reason"], told["usage"])

    def test_observe_looks_up_and_never_serves(self, make_rig):
        """P50, P57: always calls, stores, says whether it would have hit; earns no credit."""
        rig = make_rig(HOOKCACHE_MODE="observe")
        for _ in range(2):
            rig.call(ocr_event())

        assert (["observe", "observe"], 2) == (rig.outcomes, len(rig.backend.calls))
        assert [None, True] == [receipt.get("would_hit") for receipt in rig.receipts]
        assert ["absent", "would_hit"] == [receipt["reason"] for receipt in rig.receipts]
        assert {} == rig.last["units_saved"]
        assert 1 == len(rig.entries)

    @pytest.mark.parametrize(
        ("answers", "agrees"),
        [
            ([token_answer("a", 10), token_answer("a", 99)], True),
            ([token_answer("a"), token_answer("b")], False),
        ],
        ids=["the same", "another"],
    )
    def test_observe_compares_what_it_would_have_served(self, make_rig, answers, agrees):
        """P50: whatever their usage; a miss has nothing to compare."""
        rig = make_rig(HOOKCACHE_MODE="observe")
        rig.backend.replies = list(answers)
        for _ in answers:
            rig.call(ocr_event())

        assert [None, agrees] == [receipt.get("agrees") for receipt in rig.receipts]

    def test_read_only_never_writes(self, rig):
        """P50, S58: serves what is there, takes no lease."""
        rig.call(ocr_event())
        reader = rig.cold_start(HOOKCACHE_MODE="read_only")
        writes = ("put_item", "update_item", "batch_write_item", "delete_item")
        before = sum(map(rig.dynamodb.count, writes))
        rig.call(ocr_event(), reader)
        rig.call(summarization_event(), reader)

        assert ["miss", "hit_table", "miss"] == rig.outcomes
        assert (before, 0) == (sum(map(rig.dynamodb.count, writes)), metric(rig.last, "TableErrors"))

    @pytest.mark.parametrize(
        ("mode", "ordered", "written"),
        [
            ("read_only", None, 0),
            ("on", "read_only", 0),
            ("on", "off", 0),
            ("on", None, 1),
            ("on", "observe", 1),
        ],
    )
    def test_a_mode_that_writes_nothing_keeps_to_itself_who_the_backend_is(self, rig, mode, ordered, written):
        """P50, S58: by setting or by order; the control are the modes that do tell the others."""
        rig.call(ocr_event())
        rig.first.cache.control.amend(lambda _: Orders(modes={"OCR": ordered} if ordered else {}))
        rig.clock.advance(61)
        before = rig.dynamodb.of_kind("CONTROL")[0]["identity"]
        rig.call(ocr_event(), rig.cold_start(HOOKCACHE_MODE=mode))
        after = rig.dynamodb.of_kind("CONTROL")[0]["identity"]

        assert 2 == rig.backend.described
        assert written == int(before != after)

    @pytest.mark.parametrize("elsewhere", [False, True], ids=["in one process", "in two"])
    @pytest.mark.parametrize("mode", ["observe", "write_only"])
    def test_who_takes_no_answer_waits_for_nobody(self, make_rig, mode, elsewhere):
        """P50, P54: the backend is asked at once, beside the one who asks it already, and only that one's answer is kept."""
        rig = make_rig(HOOKCACHE_MODE=mode)
        leader = start(rig, ocr_event())
        beside = threading.Thread(target=rig.call, args=(ocr_event(), rig.second if elsewhere else rig.first))
        beside.start()
        asked = rig.backend.waiting.acquire(timeout=20)
        rig.backend.gate.set()
        for caller in (leader, beside):
            caller.join(60)

        assert (True, []) == (asked, rig.clock.slept)
        assert 2 == len(rig.backend.calls)

    def test_write_only_never_serves(self, make_rig):
        """P50: fills the cache for others."""
        rig = make_rig(HOOKCACHE_MODE="write_only")
        for _ in range(2):
            rig.call(ocr_event())
        rig.call(ocr_event(), rig.cold_start(HOOKCACHE_MODE="on"))

        assert (2, "hit_table") == (len(rig.backend.calls), rig.last["outcome"])

    def test_modes_differ_by_context(self, make_rig):
        """P50: one step may be off while the others are on."""
        rig = make_rig(**policy(OCR={"mode": "off"}))
        for step in ("OCR", "Extraction"):
            rig.call(STEPS[step]())
            rig.call(STEPS[step]())

        assert ["bypass", "bypass", "miss", "hit_memory"] == rig.outcomes

    def test_orders_set_a_mode_without_a_redeploy(self, rig):
        """P50, P44: an operator's stop, seen within a minute."""
        rig.call(ocr_event())
        rig.first.cache.control.amend(lambda _: Orders(modes={"*": "off"}))
        rig.clock.advance(61)
        rig.call(ocr_event())

        assert ("bypass", "mode_off") == (rig.last["outcome"], rig.last["reason"])


class TestOverflow:
    @pytest.mark.parametrize(("own", "left"), [(False, 1), (True, 0)], ids=["of another key", "control: its own"])
    def test_a_planted_entry_takes_no_other_keys_body_along(self, rig, own, left):
        """T5: the body that goes with a replaced entry bears the key's own name; a table's writer has no right on the bucket."""
        rig.backend.replies = [token_answer("x")]
        rig.call(ocr_event())
        (entry,) = rig.entries
        key = entry["pk"]["B"] if own else b"\7" * 32
        name = f"entries/{key.hex()}/1-body"
        rig.s3.put_object(Bucket=OVERFLOW_BUCKET, Key=name, Body=b"body")
        rig.dynamodb.plant({**entry, "overflow": {"S": name}})
        rig.call(ocr_event(), rig.second)

        assert ("miss", "corrupt") == (rig.last["outcome"], rig.last["reason"])
        assert left == len(rig.s3.names(OVERFLOW_BUCKET))


class TestPrices:
    def test_an_answer_does_not_wait_twice_for_its_price(self, rig):
        """P34, P53: the time left is for keeping it; whoever counted its units has waited for the table already."""
        waits = []

        class Prices:
            def costs(self, units, seconds):
                waits.append(seconds)
                return {}

        rig.first.cache.prices = Prices()
        rig.call(ocr_event())

        assert ([0.0], 1) == (waits, len(rig.entries))


class TestLittleTime:
    def test_an_answer_that_came_late_does_not_wait_for_a_table_that_hangs(self, rig):
        """P20, P21: 0.2 s of usable time are left when it comes; storing it may take as long, and no longer."""
        free, given = threading.Event(), []

        def hang(operation, arguments):
            if operation == "put_item":
                given.append(free.wait(5))

        rig.dynamodb.before, rig.dynamodb.faulted = hang, True
        rig.backend.seconds = 298.8
        try:
            told = rig.call(summarization_event())
            assert [] == given
        finally:
            free.set()

        assert ("end_turn", "miss", "store_failed") == (told["stopReason"], rig.last["outcome"], rig.last["refusal"])

    def test_half_of_what_is_left_is_the_backends(self, rig):
        """P21, P42: images may take the other half, of 8 s here."""
        given, read = [], rig.first.cache or rig.first.assembly.cache()
        digest = read._images.digest

        def digest_within(images, account, seconds):
            given.append(seconds)
            return digest(images, account, seconds)

        read._images.digest = digest_within
        rig.call(ocr_event(rig.image(b"page")), seconds=9)

        assert [4.0] == given

    def test_an_answer_waits_for_its_price_for_half_of_what_is_left(self, rig):
        """P21, P34: the other half is for keeping it."""
        waits = []

        class Prices:
            def total(self, units, seconds):
                waits.append(seconds)
                return Decimal(0), units

        rig.first.hook._prices = Prices()
        rig.backend.seconds = 298
        rig.call(ocr_event())

        assert [0.5] == waits


class TestWishes:
    def test_refresh_reaches_the_backend_and_replaces_for_all(self, rig):
        """P51, S56: in this environment at once, in others when their memory copy ends."""
        rig.backend.replies = [token_answer("old"), token_answer("new")]
        rig.call(ocr_event())
        rig.clock.advance(1)
        rig.call(ocr_event(), wishes={"refresh": True})
        texts = [
            rig.call(ocr_event(), environment)["output"]["message"]["content"][0]["text"]
            for environment in (rig.first, rig.second)
        ]

        assert ["miss", "refresh", "hit_memory", "hit_table"] == rig.outcomes
        assert ["new", "new"] == texts

    def test_a_refreshed_answer_stays_where_an_older_one_was_being_read(self, rig, monkeypatch):
        """P51: two threads of one process; the table is read for one, and then the other refreshes."""
        rig.backend.replies = [token_answer("old"), token_answer("new")]
        rig.call(ocr_event(), rig.second)
        table = rig.first.cache._table
        look = table.get

        def read(*given, **more):
            found = look(*given, **more)
            monkeypatch.undo()
            rig.clock.advance(1)
            rig.call(ocr_event(), wishes={"refresh": True})
            return found

        monkeypatch.setattr(table, "get", read)
        told = [rig.call(ocr_event())["output"]["message"]["content"][0]["text"] for _ in range(2)]

        assert ["miss", "refresh", "hit_table", "hit_memory"] == rig.outcomes
        assert ["old", "new"] == told

    @pytest.mark.parametrize("elsewhere", [False, True], ids=["in one process", "in two"])
    def test_who_refreshes_takes_no_answer_that_was_asked_for_before(self, rig, elsewhere):
        """P51, P23: it waits until nobody else asks, then asks for itself, and its answer replaces the other."""
        rig.backend.replies = [token_answer("asked before"), token_answer("refreshed")]
        leader = start(rig, ocr_event())
        told = []

        def refresh():
            told.append(rig.call(ocr_event(), rig.second if elsewhere else rig.first, wishes={"refresh": True}))

        def let_the_leader_finish(_=0):
            rig.backend.gate.set()
            leader.join(60)

        if elsewhere:
            rig.clock.on_sleep = let_the_leader_finish
            refresh()
        else:
            beside = threading.Thread(target=refresh)
            beside.start()
            (flight,) = rig.first.cache.flights._flights.values()
            assert eventually(lambda: flight.over._cond._waiters)
            let_the_leader_finish()
            beside.join(60)

        assert ["refreshed"] == list(map(text_of, told))
        assert (["miss", "refresh"], 2) == (rig.outcomes, len(rig.backend.calls))
        assert "refreshed" == text_of(rig.call(ocr_event(), rig.cold_start()))

    def test_bypass_leaves_the_cache_alone(self, rig):
        """P51: as asked."""
        rig.call(ocr_event(), wishes={"bypass": True})

        assert ("bypass", "requested", []) == (rig.last["outcome"], rig.last["reason"], rig.entries)

    @pytest.mark.parametrize(
        ("name", "outcomes"), [("language", ["bypass"] * 2), ("traceparent", ["miss", "hit_memory"])]
    )
    def test_what_else_the_caller_says_beside_the_event_is_never_answered_from_the_cache(self, rig, name, outcomes):
        """P2: the backend hears it, and may answer by it; the marks of tracers, new with each call, are no such thing."""
        for word in ("de", "fr"):
            rig.call(ocr_event(), client_context=SimpleNamespace(custom={name: word}))

        assert outcomes == rig.outcomes
        assert rig.last["reason"] == ("caller_context" if name == "language" else "")

    def test_a_lower_maximum_age_is_obeyed(self, rig):
        """P51, S56: in both tiers."""
        rig.call(ocr_event())
        rig.clock.advance(50)
        for age, outcome in ((60, "hit_memory"), (40, "miss")):
            rig.call(ocr_event(), wishes={"max_age_seconds": age})
            assert outcome == rig.last["outcome"]

    @pytest.mark.parametrize(("age", "outcome"), [(60, "bypass"), (3_600, "collapsed")])
    def test_a_lower_maximum_age_holds_for_the_answer_that_was_waited_for_too(self, rig, age, outcome):
        """P51: as old as its fetch, which began long before this caller came. A higher one is the control."""
        flights, cache = rig.first.cache.flights, rig.first.cache
        rig.call(ocr_event())
        (entry,) = [copy.entry for copy in cache._memory._copies.values()]
        rig.clock.advance(400)
        flights.board = lambda *_, **__: Landed(entry)
        cache._table.get = lambda key, *, consistent: Missing(Reason.ABSENT)
        rig.call(ocr_event(), wishes={"max_age_seconds": age})

        assert outcome == rig.last["outcome"]

    def test_a_rollout_has_answers_of_its_own(self, rig):
        """P51: its id enters the key."""
        for rollout in ("blue", "green", "blue"):
            rig.call(ocr_event(), wishes={"rollout": rollout})

        assert ["miss", "miss", "hit_memory"] == rig.outcomes

    def test_wishes_in_the_event_are_only_members(self, rig):
        """P51, S57: they reach the model and the key, and control nothing."""
        event = ocr_event() | {"hookcache": {"refresh": True, "namespace": "x"}}
        for _ in range(2):
            rig.call(event)

        assert (["miss", "hit_memory"], [event]) == (rig.outcomes, rig.backend.calls)


class TestReceipts:
    def test_the_backends_time_is_told_apart(self, rig):
        """P31: of the call that was made, in the end; a hit made none, which its receipt does not call zero."""
        rig.backend.seconds = 2
        for _ in range(2):
            rig.call(ocr_event())
        missed, hit = rig.receipts

        assert (2_000.0, 2_000.0) == (metric(missed, "BackendLatency"), metric(missed, "Latency"))
        assert (False, 0.0) == ("BackendLatency" in hit, metric(hit, "Latency"))

    def test_a_kept_answer_that_cannot_be_given_earns_nothing(self, rig, monkeypatch):
        """P18, P57: the backend answered in its place, and that is all the receipt tells."""
        event = summarization_event()
        rig.call(event)

        def broken(_):
            raise MemoryError

        monkeypatch.setattr(Entry, "may_be_unpostable", broken)
        rig.call(event)
        told = ("outcome", "reason", "error_type", "units_saved", "age_seconds", "entry_bytes")

        assert ["bypass", "internal", "MemoryError", {}, None, 0] == [rig.last[name] for name in told]
        assert 2 == len(rig.backend.calls)

    def test_a_receipt_tells_hit_from_miss_and_why(self, rig):
        """P31, P58, S60: outcome, reason, age; on hits too."""
        rig.call(ocr_event(rig.image(b"page")))
        rig.clock.advance(5)
        rig.call(ocr_event(rig.image(b"page")))
        miss, hit = rig.receipts

        assert ("absent", None) == (miss["reason"], miss["age_seconds"])
        assert ("", 5.0) == (hit["reason"], hit["age_seconds"])
        assert miss["key_id"] == hit["key_id"]
        assert (1, 4) == (hit["images"], hit["image_bytes"])

    def test_a_receipt_tells_which_backend_answered(self, rig):
        """P31, P40: of a hit, the one that made what was kept."""
        rig.backend.deploy(version="7")
        for _ in range(2):
            rig.call(ocr_event())
        rig.call(ocr_event(), rig.second)
        rig.call(ocr_event(), wishes={"bypass": True})

        assert ["miss", "hit_memory", "hit_table", "bypass"] == rig.outcomes
        assert ["7"] * 4 == [receipt["backend_version"] for receipt in rig.receipts]

    @pytest.mark.parametrize("mode", ["on", "off", "observe", "read_only", "write_only"])
    def test_a_receipt_tells_the_mode(self, make_rig, mode):
        """P31, P50: as it was set, and as it was ordered meanwhile."""
        rig = make_rig(HOOKCACHE_MODE=mode)
        rig.call(ocr_event())
        told = rig.last["mode"]
        rig.first.cache.control.amend(lambda _: Orders(modes={"*": "write_only"}))
        rig.clock.advance(61)
        rig.call(ocr_event())

        assert (mode, "off" if mode == "off" else "write_only") == (told, rig.last["mode"])

    @pytest.mark.parametrize(
        ("happens", "reason"),
        [
            (lambda rig: rig.clock.advance(500), "expired"),
            (
                lambda rig: rig.first.cache.control.amend(
                    lambda orders: orders.invalidated("OCR", rig.clock.now_ms() + 1, soft=True)
                ),
                "invalidated",
            ),
        ],
        ids=["expired", "invalidated"],
    )
    def test_a_stale_answers_receipt_says_why_it_was_no_longer_fresh(self, make_rig, happens, reason):
        """P45, P58."""
        rig = make_rig(**policy(OCR={"fresh_seconds": 400, "hard_seconds": 4_000, "stale_if_error": True}))
        rig.call(ocr_event())
        happens(rig)
        rig.clock.advance(61)
        rig.backend.replies = [BackendRaised("Overloaded", "no")]
        rig.call(ocr_event())

        assert ("stale", reason) == (rig.last["outcome"], rig.last["reason"])
        assert (1, 0) == (metric(rig.last, "Misses"), metric(rig.last, "TableHits")), "P57: no hit"

    def test_no_answer_is_younger_than_nothing(self, rig):
        """P12, P31: within what clocks may differ, one that was made later by another clock is 0 seconds old."""
        rig.call(ocr_event())
        rig.clock.set_back(1)
        rig.call(ocr_event(), rig.second)

        assert ("hit_table", 0.0) == (rig.last["outcome"], rig.last["age_seconds"])

    @pytest.mark.parametrize(
        ("happens", "reason"),
        [
            (lambda rig: rig.clock.advance(8 * 86_400), "expired"),
            (lambda rig: [rig.dynamodb.plant(item | {"tag": {"B": b""}}) for item in rig.entries], "corrupt"),
            (lambda rig: [rig.dynamodb.plant(item | {"schema": {"N": "0"}}) for item in rig.entries], "schema"),
            (lambda rig: rig.dynamodb.items.clear(), "absent"),
        ],
        ids=["expired", "corrupt", "schema", "absent"],
    )
    def test_a_miss_says_why(self, rig, happens, reason):
        """P58, S60: what one look-up can know. A damaged entry counts once, though a leader looks twice (P6)."""
        rig.call(ocr_event())
        happens(rig)
        rig.call(ocr_event(), rig.second)

        assert ("miss", reason) == (rig.last["outcome"], rig.last["reason"])
        assert int(reason == "corrupt") == metric(rig.last, "CorruptEntries")

    @pytest.mark.parametrize(
        "called_by",
        [
            "arn:aws:lambda:us-east-1:123456789012:function:GENAIIDP-cache-x",
            "arn:aws:lambda:us-east-1:123456789012:function:GENAIIDP-cache-x:live",
            "arn:aws:lambda:us-east-1:123456789012:function:GENAIIDP-cache-x:7",
            "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:GENAIIDP-cache-x:$LATEST",
        ],
    )
    def test_a_function_is_metered_under_one_name(self, rig, called_by):
        """S55, P35: alias, version, GovCloud; always the bare name."""
        rig.call(ocr_event(), invoked_function_arn=called_by)

        assert ("GENAIIDP-cache-x", "OCR/lambda_hook/GENAIIDP-cache-x") == (
            rig.last["function"],
            rig.last["MeteringKey"],
        )

    def test_credit_is_earned_by_hits_only(self, make_rig):
        """P57, S51, S52: the backend's own prompt-cache units are no hits of ours; a miss saves nothing."""
        rig = make_rig()
        rig.backend.handler = lambda event: answer("a", inputTokens=10, cacheReadInputTokens=900)
        rig.call(ocr_event())
        rig.call(ocr_event())
        miss, hit = rig.receipts

        assert {} == miss["units_saved"]
        assert {"inputTokens": 10, "cacheReadInputTokens": 900} == hit["units_saved"]
        assert (0, 1) == (metric(miss, "MemoryHits"), metric(hit, "MemoryHits"))

    @pytest.mark.parametrize(
        "trouble", [BrokenPipeError(), ValueError("I/O operation on closed file"), OSError()], ids=repr
    )
    def test_metering_trouble_never_touches_the_answer(self, rig, trouble, monkeypatch):
        """P34, F34: stdout closed or broken; the answer goes out."""
        rig.call(ocr_event())

        def broken(text):
            raise trouble

        monkeypatch.setattr(rig.stdout, "write", broken)
        told = rig.call(ocr_event())
        monkeypatch.undo()
        rig.invocations -= 1  # its receipt is lost, which is all that may be
        rig.answers.remove(told)

        assert "end_turn" == told["stopReason"]

    def test_every_own_unit_is_counted(self, rig):
        """P56: table units as reported, S3 and Lambda requests, and their estimated price."""
        rig.call(ocr_event(rig.image(b"page")))
        own = rig.last["own_units"]

        assert (1, True, True) == (own["lambda_requests"], own["table_write_units"] > 3, own["s3_requests"] >= 2)
        assert metric(rig.last, "OwnCost") > 0

    def test_a_hit_from_memory_costs_no_table(self, rig):
        """P56, G1: what the memory tier is for."""
        rig.call(summarization_event())
        rig.call(summarization_event())

        assert {"lambda_requests", "lambda_gb_seconds", "log_bytes"} >= rig.last["own_units"].keys()

    def test_savings_are_at_the_price_of_the_day(self, make_rig, tmp_path):
        """P55, S50: frozen when the answer was made; unknown units are `unpriced`, never 0 and never guessed."""
        file = tmp_path / "prices.yaml"
        file.write_text("pricing: [{name: row, units: [{name: inputTokens, price: '0.001'}]}]")
        rig = make_rig(HOOKCACHE_PRICES=str(file), HOOKCACHE_PRICE_AS="row")
        rig.backend.handler = lambda event: answer("a", inputTokens=10, pages=2)
        rig.call(ocr_event())
        file.write_text("pricing: [{name: row, units: [{name: inputTokens, price: '5'}]}]")
        rig.call(ocr_event(), rig.second)
        miss, hit = rig.receipts

        assert (0.01, 0.0) == (metric(miss, "Cost"), metric(miss, "SavedCost"))
        assert (0.0, 0.01) == (metric(hit, "Cost"), metric(hit, "SavedCost"))
        assert {"pages": 2} == hit["unpriced_units"] == miss["unpriced_units"]

    def test_a_record_is_valid_embedded_metric_format(self, rig):
        """P35, S53: two dimension sets of one each, at most 100 metrics, one value each, all of them present."""
        rig.call(ocr_event())
        with pytest.raises(DeadlineTooClose):
            rig.call(summarization_event(), seconds=0)
        for receipt in rig.receipts:
            (told,) = receipt["_aws"]["CloudWatchMetrics"]
            assert [["MeteringKey"], ["Service"]] == told["Dimensions"]
            assert "GenAIIDP/HookCache" == told["Namespace"]
            assert len(told["Metrics"]) <= 100
            assert all(1 == len(receipt[each["Name"]]) for each in told["Metrics"])
            assert all(isinstance(receipt[name], str) for (name,) in told["Dimensions"])

    def test_dimensions_hold_nothing_of_a_request(self, rig):
        """P35, P36: a context that a caller made up becomes `Other`."""
        rig.call(summarization_event() | {"context": f"{CANARY}.pdf"})

        assert "Other/lambda_hook/GENAIIDP-cache-backend" == rig.last["MeteringKey"]


class TestFences:
    def test_a_slow_leader_does_not_overwrite_its_successor(self, rig):
        """P25, S36, F17: paused past its lease, it finds a newer fence: its caller is served, its put and release are refused."""

        def paused(event):
            if len(rig.backend.calls) > 1:
                return token_answer("new")
            rig.clock.advance(40)
            rig.call(event, rig.second)
            return token_answer("old")

        rig.backend.handler = paused
        texts = [text_of(rig.call(ocr_event(), environment)) for environment in (rig.first, rig.cold_start())]
        successor, slow, _ = rig.receipts

        assert ["old", "new"] == texts
        assert ("miss", "") == (successor["outcome"], successor["refusal"])
        assert ("miss", "superseded", 1) == (slow["outcome"], slow["refusal"], metric(slow, "LeaseLost"))
        assert ["DONE"] == [lease["state"]["S"] for lease in rig.dynamodb.of_kind("LEASE")]

    @pytest.mark.parametrize("fenced", [True, False], ids=["promise", "control: no fence"])
    def test_an_erase_during_a_fetch_keeps_its_answer_out(self, rig, fenced):
        """P13, S59, F19: the caller is served, nothing returns to the table; without the fence it would."""

        def erased_meanwhile(event):
            cache = rig.first.cache
            (lease,) = rig.dynamodb.of_kind("LEASE")
            if fenced:
                key, fence = lease["pk"]["B"], cache.flights._book.fence_off(lease["pk"]["B"])
                rig.dynamodb.plant(cache._table._sealer.tombstone(key, fence, rig.clock.now_ms() // 1000 + 86_400))
            return token_answer()

        rig.backend.handler = erased_meanwhile
        told = rig.call(ocr_event())
        kept = [item for item in rig.entries if "erased" not in item]

        assert "end_turn" == told["stopReason"]
        assert (
            (0, "superseded") == (len(kept), rig.last["refusal"])
            if fenced
            else (1, "") == (len(kept), rig.last["refusal"])
        )


def text_of(told):
    return told["output"]["message"]["content"][0]["text"]


class TestSecrecy:
    def test_nothing_of_a_request_is_written_on_any_path(self, make_rig):
        """P36, P58, S19, T11: with the trace on and every log level heard; miss, hit, bypass, refusal, failure, damage."""
        rig = make_rig(POWERTOOLS_LOG_LEVEL="DEBUG", **policy(**{"*": {"trace": True, "error_detail": "type"}}))
        page = rig.image(f"page of {CANARY}".encode())
        rig.call(ocr_event(page))
        rig.call(ocr_event(page))
        rig.call(ocr_event(f"s3://{CANARY}/{CANARY}"))
        rig.call(summarization_event() | {CANARY: f"s3://{CANARY}"})
        rig.backend.replies = [answer(CANARY, "max_tokens"), BackendRaised("ValueError", CANARY)]
        rig.call(summarization_event(CANARY))
        with pytest.raises(BackendFailed):
            rig.call(extraction_event(CANARY))
        rig.dynamodb.plant(rig.entries[0] | {"body": {"B": CANARY.encode()}})
        rig.call(ocr_event(page), rig.second)
        rig.backend.replies = [BackendRaised("ValueError", CANARY)]
        with pytest.raises(BackendFailed):
            rig.call(ocr_event(f"s3://{CANARY}/{CANARY}"))

        assert 8 == len(rig.receipts)
        assert [] == [name for name in ("stdout", "stderr") if CANARY in getattr(rig, name).text]
        assert not any(CANARY in str(error) for error in rig.errors)

"""functions/stream over real sockets: what callers see of a miss, a hit, a broken stream, and what is kept of it."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from stream_stage import NAME, BySdk, ByUrl, Stage, event_of

from hookcache_ops.backends.converse_stream_server import Cut, Failed, Gate, Step, Stopped, text_events
from waiting import eventually

pytestmark = pytest.mark.xdist_group("stream")
WAYS = pytest.mark.parametrize("way", ["sdk", "url"])
USAGE = {"inputTokens": 11, "outputTokens": 2, "totalTokens": 13, "cacheReadInputTokens": 5}
ZEROS = dict.fromkeys(USAGE, 0)
ORDER = ["messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]


def held(gate: Gate) -> list[Step]:
    """A stream that stops before its second word until the gate opens."""
    start, first, *rest = text_events(["one ", "two"], USAGE)
    return [start, first, gate, *rest]


class TestMiss:
    @WAYS
    def test_the_first_word_is_with_the_caller_before_the_model_says_the_second(self, stage: Stage, way: str) -> None:
        """Issue D, 2: the caller has read the first word while the model is held in front of the second."""
        gate = Gate()
        stage.model.tell(*held(gate))
        caller = stage.by(way, event_of())
        lines = caller.lines()
        first = [next(lines), next(lines)]

        assert [{"messageStart": {"role": "assistant"}}, "one "] == [
            first[0],
            first[1]["contentBlockDelta"]["delta"]["text"],
        ]
        assert (True, False, 2) == (gate.reached.wait(30), gate.opened.is_set(), stage.model.sent)
        gate.opened.set()

        told = caller.all()
        assert ("one two", ORDER, USAGE, False) == (told.text, told.names, told.usage, told.broken)

    def test_a_caller_of_the_whole_answer_has_nothing_by_then(self, stage: Stage) -> None:
        """Control: the same hold, the same socket, and an answer that is not streamed: no byte comes."""
        gate, before = Gate(), len(stage.receipts())
        stage.model.tell(*held(gate))
        caller = ByUrl(stage.url, event_of(), accept="application/json", timeout=0.5)
        assert gate.reached.wait(30)

        with pytest.raises(TimeoutError):
            _ = caller.reply
        gate.opened.set()
        assert eventually(lambda: len(stage.receipts()) > before)

    def test_an_answer_that_was_cut_short_by_its_limit_is_streamed_and_not_kept(self, stage: Stage) -> None:
        """P14: a stream may end as it should, and its answer still be refused by the admission gate."""
        event = event_of()
        stage.model.tell(*text_events(["half"], USAGE, stop="max_tokens"))
        told = BySdk(stage.lambda_client, event).all()

        assert ({}, "half", {"stopReason": "max_tokens"}) == (told.complete, told.text, told.events[-2]["messageStop"])
        assert ("miss", "truncated") == (stage.receipts()[-1]["outcome"], stage.receipts()[-1]["refusal"])
        BySdk(stage.lambda_client, event).all()
        assert 2 == stage.model.calls


class TestHit:
    @WAYS
    def test_it_is_replayed_as_a_stream_and_charges_nothing(self, stage: Stage, way: str) -> None:
        """P9, P32: same words, same kinds of events in the same order, every unit 0; the model is asked once."""
        event = event_of()
        stage.model.tell(*text_events(["one ", "two"], USAGE))
        miss, hit = stage.by(way, event).all(), stage.by(way, event).all()

        assert ("one two", ORDER) == (hit.text, hit.names)
        assert (USAGE, ZEROS) == (miss.usage, hit.usage)
        assert 1 == stage.model.calls

    def test_every_call_leaves_one_receipt_with_its_units(self, stage: Stage) -> None:
        """P31, P55: miss, memory hit and, in a new environment, table hit; spent once, saved twice."""
        event, before = event_of(), len(stage.receipts())
        stage.model.tell(*text_events(["one ", "two"], USAGE))
        for way in ("sdk", "url"):
            stage.by(way, event).all()
        stage.aws.functions.kill_environments(NAME)
        last = BySdk(stage.lambda_client, event).all()
        receipts = stage.receipts()[before:]

        assert ["miss", "hit_memory", "hit_table"] == [receipt["outcome"] for receipt in receipts]
        assert [USAGE, {}, {}] == [receipt["units_spent"] for receipt in receipts]
        assert [{}, USAGE, USAGE] == [receipt["units_saved"] for receipt in receipts]
        assert ("one two", ZEROS) == (last.text, last.usage)
        assert 1 == len({receipt["key_id"] for receipt in receipts})


class TestOneKey:
    @pytest.mark.parametrize("order", [("whole", "stream"), ("stream", "whole")], ids="-then-".join)
    def test_callers_of_the_stream_and_of_the_whole_answer_share_one_entry(
        self, stage: Stage, order: tuple[str, str]
    ) -> None:
        """P1, issue D: the same request asks under the same key, however its caller wants the answer."""
        event, before = event_of(), len(stage.receipts())
        for way in order:
            stage.whole(event) if way == "whole" else BySdk(stage.lambda_client, event).all()
        whole, stream = stage.whole(event), BySdk(stage.lambda_client, event).all()
        by_url = ByUrl(stage.url, event, accept="application/json").reply.read()
        receipts = stage.receipts()[before:]

        assert 1 == stage.model.calls
        assert ["miss", *["hit_memory"] * 4] == [receipt["outcome"] for receipt in receipts]
        assert 1 == len({receipt["key_id"] for receipt in receipts})
        assert whole["output"]["message"]["content"] == [{"text": stream.text}]
        assert whole == json.loads(by_url)

    def test_another_request_has_another_key(self, stage: Stage) -> None:
        """P3, control: one number differs, and the model is asked."""
        text = event_of()["messages"][0]["content"][0]["text"]
        stage.whole(event_of(text))
        BySdk(stage.lambda_client, event_of(text, maxTokens=500)).all()

        assert 2 == stage.model.calls


HALF: list[Step] = text_events(["half "], USAGE)[:2]
BROKEN: dict[str, tuple[list[Step], str]] = {
    "throttled": ([*HALF, Failed("throttlingException", "Too many tokens")], "ThrottlingException"),
    "model failed": ([*HALF, Failed("modelStreamErrorException")], "ModelStreamErrorException"),
    "cut": ([*HALF, Cut()], "ProtocolError"),
    "odd event": ([*HALF, {"contentBlockDelta": ["canary"]}], "BackendMalformed"),
    "no stop": ([*HALF, Stopped()], "IncompleteStream"),
    "no usage": ([*text_events(["half "], USAGE)[:-1], Stopped()], "IncompleteStream"),
}


class TestBrokenStream:
    @pytest.mark.parametrize("case", BROKEN)
    def test_it_is_told_as_an_error_and_never_kept(self, stage: Stage, case: str) -> None:
        """P14, P17, issue D, 2: ErrorCode in InvokeComplete, an error as last line, no `metadata`; the model is asked again."""
        script, error_type = BROKEN[case]
        event, before = event_of(), len(stage.receipts())
        stage.model.tell(*script)
        told = BySdk(stage.lambda_client, event).all()
        again = BySdk(stage.lambda_client, event).all()
        receipts = stage.receipts()[before:]

        assert ("half ", error_type) == (told.text, told.complete["ErrorCode"])
        assert error_type == json.loads(told.complete["ErrorDetails"])["errorType"]
        assert error_type == told.events[-1]["error"]["errorType"]
        assert "metadata" not in told.names
        assert ({}, ORDER, 2) == (again.complete, again.names, stage.model.calls)
        assert [("failed", 0), ("miss", 1)] == [(it["outcome"], it["entry_bytes"] > 0) for it in receipts]
        assert ({}, error_type) == (receipts[0]["units_spent"], receipts[0]["error_type"])

    @pytest.mark.parametrize("case", ["throttled", "cut"])
    def test_a_plain_http_client_sees_that_it_broke(self, stage: Stage, case: str) -> None:
        """The response has no end: no client takes it for whole; its last line says why."""
        script, error_type = BROKEN[case]
        stage.model.tell(*script)
        told = ByUrl(stage.url, event_of()).all()

        assert (True, "half ", error_type) == (told.broken, told.text, told.events[-1]["error"]["errorType"])

    def test_an_error_before_the_first_word_is_an_error_of_the_function(self, stage: Stage) -> None:
        """Nothing was begun: InvokeComplete with the model's own error type and no line, 502 by URL."""
        stage.model.misbehave("throttle", "throttle")
        told = BySdk(stage.lambda_client, event_of()).all()
        by_url = ByUrl(stage.url, event_of())

        assert ([], "ThrottlingException", 502) == (told.events, told.complete["ErrorCode"], by_url.reply.status)

    def test_an_odd_event_before_the_first_word_is_no_error_of_python(self, stage: Stage) -> None:
        """F24: botocore's parser fails at it in many ways; `errorType` is a word of ours, and nothing is kept."""
        event = event_of()
        stage.model.tell({"messageStart": ["canary"]})

        assert "BackendMalformed" == stage.whole(event)["errorType"]
        assert "stopReason" in stage.whole(event)  # control: the next attempt reaches the model

    def test_a_number_that_the_sdk_does_not_take_is_the_requests_fault(self, stage: Stage) -> None:
        """As with the bedrock backend: a type that `negative_errors` can name, a remedy, 400 by URL; the model is not asked."""
        told, by_url = stage.whole(event_of(maxTokens=0.5)), ByUrl(stage.url, event_of(maxTokens=0.5))

        assert ("BadRequestError", 400) == (told["errorType"], by_url.reply.status)
        assert "check the numbers" in told["errorMessage"]
        assert 0 == stage.model.calls

    def test_a_body_that_is_no_request_is_refused_by_url(self, stage: Stage) -> None:
        """P31, B1: 400 with the remedy, one receipt each; the model is not asked."""
        before = len(stage.receipts())
        replies = [ByUrl(stage.url, body).reply for body in (b"[]", b"{", b"", b"{}")]

        assert [400] * 4 == [reply.status for reply in replies]
        assert all("messages" in json.loads(reply.read())["message"] for reply in replies)
        assert ["failed"] * 4 == [receipt["outcome"] for receipt in stage.receipts()[before:]]
        assert 0 == stage.model.calls

    @pytest.mark.parametrize(
        "event", [None, [], "text", {"requestContext": "x"}, {"requestContext": {}}, {"messages": "x"}], ids=str
    )
    def test_an_odd_event_is_an_error_with_a_remedy_and_a_receipt(self, stage: Stage, event: Any) -> None:
        """P31, B1: by Invoke as the host calls; the environment lives on."""
        before = len(stage.receipts())

        assert "BadRequestError" == stage.whole(event)["errorType"]
        assert ["failed"] == [receipt["outcome"] for receipt in stage.receipts()[before:]]

    def test_a_missing_setting_is_named_when_the_function_starts(self, stage: Stage) -> None:
        """P52: the function's error says which one."""
        stage.deploy("GENAIIDP-stream-unset", TARGET_MODEL_ID="")

        assert "TARGET_MODEL_ID is not set" in stage.whole(event_of(), "GENAIIDP-stream-unset")["errorMessage"]


class TestCallers:
    @WAYS
    def test_a_caller_who_hangs_up_leaves_a_kept_answer(self, stage: Stage, way: str) -> None:
        """P53, issue D: the model is heard to its end and the next caller gets a hit."""
        gate, event, before = Gate(), event_of(), len(stage.receipts())
        stage.model.tell(*held(gate))
        caller = stage.by(way, event)
        next(caller.lines())
        assert gate.reached.wait(30)
        caller.hang_up()
        gate.opened.set()

        assert eventually(lambda: len(stage.receipts()) > before)
        receipt = stage.receipts()[-1]
        assert ("miss", USAGE, True) == (receipt["outcome"], receipt["units_spent"], receipt["entry_bytes"] > 0)
        assert "one two" == BySdk(stage.lambda_client, event).all().text
        assert 1 == stage.model.calls

    def test_a_second_caller_meanwhile_costs_no_second_call(self, stage: Stage) -> None:
        """P23: two environments, one call of the model; who comes second gets a replay once the first is through."""
        gate, event, before = Gate(), event_of(), len(stage.receipts())
        stage.model.tell(*held(gate))
        leader = BySdk(stage.lambda_client, event)
        next(leader.lines())
        assert gate.reached.wait(30)
        started = starts(stage)
        told: list[Any] = []
        follower = threading.Thread(target=lambda: told.append(ByUrl(stage.url, event).all()))
        follower.start()
        assert eventually(lambda: starts(stage) > started)
        gate.opened.set()
        led = leader.all()
        follower.join(60)

        assert ("one two", USAGE) == (led.text, led.usage)
        assert ("one two", ORDER, ZEROS) == (told[0].text, told[0].names, told[0].usage)
        assert 1 == stage.model.calls
        assert eventually(lambda: len(stage.receipts()) == before + 2)
        outcomes = {receipt["outcome"] for receipt in stage.receipts()[before:]}
        # Which of the two a follower is, and which receipt is written first, is a matter of milliseconds.
        assert outcomes in ({"miss", "collapsed"}, {"miss", "hit_table"})


def starts(stage: Stage) -> int:
    return sum(line.startswith("START ") for line in stage.aws.functions.logs(NAME))

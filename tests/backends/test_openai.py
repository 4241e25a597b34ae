"""functions/openai: the host's event as a chat completion, and back; over a real socket, behind the real hook."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError
from scripted_service import Says, load_function, put_behind, scripted

from fakes import CANARY, FakeSecrets, event_of, image_block, ocr_event, refusal
from hookcache_ops.backends.openai import MODEL, OpenAiServer
from hookcache_ops.backends.reading import Told

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:model-key-abc123"
KEY = "sk-canary-4711"
app = load_function("openai", OPENAI_BASE_URL="http://127.0.0.1/v1", OPENAI_MODEL="m")
errors, answer_module = app.module_backend_errors, app.module_chat_answer
Deadline = app.module_deadline.Deadline


def completion(content: Any = "Account 12345", finish: Any = "stop", **members: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 1500, "completion_tokens": 20, "total_tokens": 1520}
    message = {"role": "assistant", "content": content, **members.pop("message", {})}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage, **members}


def function(rig: Any, service: Any, secrets: FakeSecrets | None = None, left: float = 300, **environment: str) -> Any:
    """The function on the rig's S3 and clock; its waits move that clock and nothing else."""
    clients = {"s3": rig.s3, "secretsmanager": secrets or FakeSecrets(KEY)}
    settings = {"OPENAI_BASE_URL": f"{service.url}/v1", "OPENAI_MODEL": "reader-7b", "OPENAI_API_KEY_SECRET_ARN": ARN}
    return app.OpenAiFunction(
        settings | environment,
        lambda name, config: clients[name],
        lambda _: Deadline(left, rig.clock.elapsed, rig.clock.sleep),
    )


class TestDeadline:
    @pytest.mark.parametrize(("seconds", "waits"), [(7.9, True), (8.0, False), (9.0, False)])
    def test_no_wait_ends_with_the_invocation_or_after_it(self, rig, seconds, waits):
        """P21: two of its ten seconds are for raising an error of our own; nothing is waited in vain."""
        deadline = Deadline(10, rig.clock.elapsed, rig.clock.sleep)
        if waits:
            deadline.wait(seconds, "busy")
        else:
            with pytest.raises(errors.OutOfTimeError, match="only 8 s"):
                deadline.wait(seconds, "busy")

        assert ([seconds] if waits else []) == rig.clock.slept


class TestRequest:
    @pytest.mark.parametrize(("owner", "read"), [("123456789012", True), ("999999999999", False), (None, True)])
    def test_an_image_is_read_from_its_owners_bucket(self, rig, owner, read):
        """T8: the account that the host names, which S3 then holds the bucket to."""
        rig.s3.owner = "123456789012"
        given = event_of("OCR", ["Read.", image_block(rig.image(b"page"), owner=owner)])
        with scripted(Says(completion())) as service:
            if read:
                function(rig, service)(given, None)
            else:
                with pytest.raises(errors.NoImageError, match="AccessDenied"):
                    function(rig, service)(given, None)

        assert int(read) == len(service.requests)

    def test_every_block_stands_in_its_place(self, rig):
        """Text, image, text keep their order; the image is a data URL of its own bytes and media type."""
        first, second = rig.image(b"page one"), rig.image(b"page two", kind="png")
        blocks = [
            "Before.",
            image_block(first),
            "Between <<CACHEPOINT>>.",
            image_block(second, "png"),
            "<<CACHEPOINT>>",
        ]
        with scripted(Says(completion())) as service:
            function(rig, service)(event_of("OCR", blocks, maxTokens=100.0, topK=5.0, topP=0.1), None)
        [request], [sent] = service.requests, service.sent

        def url(kind: str, data: bytes) -> dict[str, Any]:
            return {
                "type": "image_url",
                "image_url": {"url": f"data:image/{kind};base64,{base64.b64encode(data).decode()}"},
            }

        assert (request.method, request.target) == ("POST", "/v1/chat/completions")
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["content-type"] == "application/json"
        assert sent["messages"] == [
            {"role": "system", "content": f"You work on {CANARY}'s papers."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Before."},
                    url("jpeg", b"page one"),
                    {"type": "text", "text": "Between ."},
                    url("png", b"page two"),
                ],
            },
        ]
        assert {name: sent[name] for name in sent if name != "messages"} == {
            "model": "reader-7b",
            "temperature": 0.0,
            "top_p": 0.1,
            "top_k": 5,
            "max_tokens": 100,
        }
        assert [int, int] == [type(sent[name]) for name in ("top_k", "max_tokens")]

    def test_who_said_what_is_kept(self, rig):
        """The host sends one message; callers of one's own may send a conversation."""
        given = event_of("OCR", ["Which year?"])
        said = [{"role": "assistant", "content": [{"text": "2024."}]}, {"content": [{"text": "And the month?"}]}]
        with scripted(Says(completion())) as service:
            system = [{"text": "Read."}, {"text": " "}, {"text": "Be brief."}]
            function(rig, service)({**given, "messages": [*given["messages"], *said], "system": system}, None)
        sent = service.sent[0]["messages"]
        assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
        assert sent[0]["content"] == "Read.\n\nBe brief."

    def test_members_are_laid_over_and_left_out_as_the_operator_says(self, rig):
        """Some servers refuse `top_k` or `temperature`, or want another name for the token limit."""
        with scripted(Says(completion())) as service:
            laid = '{"top_k": null, "temperature": null, "seed": 7}'
            function(rig, service, OPENAI_BODY=laid)(event_of("OCR", ["x"], topK=5), None)
        sent = service.sent[0]
        assert sorted(sent) == ["messages", "model", "seed"]

    def test_without_a_secret_no_key_is_sent(self, rig):
        with scripted(Says(completion())) as service:
            function(rig, service, OPENAI_API_KEY_SECRET_ARN="")(event_of("OCR", ["x"]), None)
        assert "authorization" not in service.requests[0].headers

    def test_a_slash_at_the_end_of_the_url_says_nothing(self, rig):
        """Servers know no `/v1//chat/completions`."""
        with scripted(Says(completion())) as service:
            function(rig, service, OPENAI_BASE_URL=f" {service.url}/v1/ ")(event_of("OCR", ["x"]), None)
        assert service.requests[0].target == "/v1/chat/completions"

    def test_a_block_of_another_kind_is_an_error_and_not_left_out(self, rig):
        with (
            scripted(Says(completion())) as service,
            pytest.raises(errors.BadRequestError, match="neither text nor image"),
        ):
            function(rig, service)(event_of("OCR", ["x", {"document": {"format": "pdf"}}]), None)
        assert len(service.requests) == 0

    @pytest.mark.parametrize(
        ("break_it", "told"),
        [
            (lambda rig, uri: rig.s3.delete_object(Bucket=uri.split("/")[2], Key=uri.split("/", 3)[3]), "s3:GetObject"),
            (
                lambda rig, uri: rig.s3.put_object(Bucket=uri.split("/")[2], Key=uri.split("/", 3)[3], Body=b""),
                "is empty",
            ),
        ],
        ids=["gone", "empty"],
    )
    def test_an_image_that_s3_does_not_give_is_an_error_and_never_an_empty_answer(self, rig, break_it, told):
        """The model is not asked about a page that it cannot see."""
        uri = rig.image(b"page")
        break_it(rig, uri)
        with scripted(Says(completion())) as service, pytest.raises(errors.NoImageError, match=told) as error:
            function(rig, service)(ocr_event(uri), None)
        assert len(service.requests) == 0
        assert uri not in str(error.value)


class TestAnswer:
    @pytest.mark.parametrize(
        ("finish", "stop"),
        [
            ("stop", "end_turn"),
            ("eos_token", "end_turn"),
            ("stop_sequence", "stop_sequence"),
            ("length", "max_tokens"),
            ("content_filter", "content_filtered"),
            ("tool_calls", "tool_use"),
            ("function_call", "tool_use"),
            ("abort", "abort"),
        ],
    )
    def test_how_it_ended_is_told_in_converses_words(self, finish, stop):
        answer = answer_module.converse_answer(completion(finish=finish), blank_pages=False)
        assert answer == {
            "output": {"message": {"role": "assistant", "content": [{"text": "Account 12345"}]}},
            "stopReason": stop,
            "usage": {"inputTokens": 1500, "outputTokens": 20, "totalTokens": 1520},
        }

    def test_cached_tokens_stand_beside_the_others_and_are_counted_once(self):
        """Theirs are part of the prompt's, Converse's are not: input + cached + output = total."""
        usage = {"prompt_tokens": 1500, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 1024}}
        assert answer_module.usage_of(usage) == {
            "inputTokens": 476,
            "outputTokens": 20,
            "totalTokens": 1520,
            "cacheReadInputTokens": 1024,
        }

    def test_more_cached_tokens_than_there_were_leave_none_to_pay(self):
        """P33: a number below zero would be refused by the wrapper, and charged back by a host."""
        usage = {"prompt_tokens": 15, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1024}}
        assert answer_module.usage_of(usage) == {
            "inputTokens": 0,
            "outputTokens": 2,
            "totalTokens": 17,
            "cacheReadInputTokens": 15,
        }

    @pytest.mark.parametrize(
        ("told", "out"),
        [
            ({"prompt_tokens": 21, "completion_tokens": 40, "total_tokens": 121}, 100),
            ({"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81}, 60),
            ({"prompt_tokens": 21, "completion_tokens": 40, "total_tokens": 61}, 40),
            ({"prompt_tokens": 21, "completion_tokens": 40}, 40),
            ({"prompt_tokens": 21, "completion_tokens": 40, "total_tokens": 5}, 40),
            ({"completion_tokens": 40, "total_tokens": 121}, 40),
        ],
        ids=["in the total alone", "nothing else", "control: whole", "no total", "a total that is none", "no prompt"],
    )
    def test_reasoning_that_only_the_total_counts_is_output(self, told, out):
        """It is charged as output; Gemini's models behind several gateways are told so."""
        assert answer_module.usage_of(told)["outputTokens"] == out

    @pytest.mark.parametrize(
        "usage", [None, [], {}, {"prompt_tokens": "many"}, {"prompt_tokens": -1}, {"prompt_tokens": True}]
    )
    def test_usage_that_counts_nothing_is_left_out(self, usage):
        """The host then counts zeros; an invented number would be charged."""
        assert "usage" not in answer_module.converse_answer(completion(usage=usage), blank_pages=False)

    @pytest.mark.parametrize(("counted", "into", "out"), [("prompt_tokens", 7, 0), ("completion_tokens", 0, 7)])
    def test_what_is_not_counted_is_zero(self, counted, into, out):
        told = {"inputTokens": into, "outputTokens": out, "totalTokens": 7}
        assert answer_module.usage_of({counted: 7}) == told

    def test_text_in_parts_is_joined_and_reasoning_left_where_it_is(self):
        parts = [{"type": "text", "text": "Account "}, "12", {"text": 3}, {"type": "text", "text": "12345"}]
        told = completion(parts, message={"reasoning_content": "Let me see."})
        answer = answer_module.converse_answer(told, blank_pages=False)
        assert answer["output"]["message"]["content"] == [{"text": "Account 12345"}]

    @pytest.mark.parametrize(("content", "text"), [(None, "I cannot help with that."), ("Account", "Account")])
    def test_a_refusal_is_told_as_filtered(self, content, text):
        """With what there is to read: the text before it, else its own words."""
        told = completion(content, message={"refusal": "I cannot help with that."})
        answer = answer_module.converse_answer(told, blank_pages=False)
        assert answer["stopReason"] == "content_filtered"
        assert answer["output"]["message"]["content"] == [{"text": text}]

    def test_a_blank_page_is_no_error_where_the_operator_says_so(self):
        """And a text that was cut before it began still is."""
        answer = answer_module.converse_answer(completion(""), blank_pages=True)
        assert answer["output"]["message"]["content"] == [{"text": ""}]
        with pytest.raises(errors.BadAnswerError):
            answer_module.converse_answer(completion("", "length"), blank_pages=True)


BAD = {
    "empty": (Says(completion("")), "BadAnswerError"),
    "empty because cut": (Says(completion("", "length")), "BadAnswerError"),
    "null content": (Says(completion(None)), "BadAnswerError"),
    "no end told": (Says(completion(finish=None)), "BadAnswerError"),
    "an empty end told": (Says(completion(finish="")), "BadAnswerError"),
    "a number for an end": (Says(completion(finish=1)), "BadAnswerError"),
    "no choices": (Says({"choices": []}), "BadAnswerError"),
    "no message": (Says({"choices": [{"finish_reason": "stop"}]}), "BadAnswerError"),
    "choices by name": (Says({"choices": {"first": {}}}), "BadAnswerError"),
    "no object": (Says(["text"]), "BadAnswerError"),
    "no JSON": (Says(b"<html>gateway</html>"), "BadAnswerError"),
    "cut JSON": (Says(b'{"choices": [{"mess'), "BadAnswerError"),
    "too deep": (Says(b"[" * 100_000), "BadAnswerError"),
    "cut on the wire": (Says(completion(), way="cut"), "ServiceFailedError"),
    "error with 200": (Says({"error": {"message": CANARY}}), "ServiceFailedError"),
    "failed half way": (Says(completion("Account 1", "error")), "ServiceFailedError"),
    "failed half way, told beside": (
        Says({"choices": [{**completion()["choices"][0], "error": {"code": 502, "message": CANARY}}]}),
        "ServiceFailedError",
    ),
    "400": (Says({"error": {"message": CANARY, "code": "context_length_exceeded"}}, 400), "ServiceRefusedError"),
    "401": (
        Says({"error": {"message": f"Incorrect key {KEY}", "code": "invalid_api_key"}}, 401),
        "ServiceRefusedError",
    ),
    "400, prose for a code": (Says({"error": {"code": f"Not this: {CANARY}"}}, 400), "ServiceRefusedError"),
    "302": (Says({}, 302, {"Location": "https://elsewhere.example/"}), "ServiceRefusedError"),
    "429": (Says({}, 429), "ServiceThrottledError"),
    "429 for an hour": (Says({}, 429, {"Retry-After": "3600"}), "ServiceThrottledError"),
    "500": (Says({"detail": CANARY}, 500), "ServiceFailedError"),
    "503": (Says(b"busy", 503), "ServiceFailedError"),
    "529": (Says({}, 529), "ServiceFailedError"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_answer_raises_its_own_type_and_nothing_is_stored(rig, bad):
    """P14, P17, P36: typed, with a remedy, without the service's prose; the next good answer is kept as ever."""
    says, expected = BAD[bad]
    with scripted(says) as service:
        put_behind(rig, function(rig, service, MAX_RETRIES="2"), errors.BackendError)
        uri = rig.image(b"a page")
        with pytest.raises(Exception, match=r"\w") as error:
            rig.call(ocr_event(uri))
        assert type(error.value).__name__ == expected
        assert rig.entries == []
        for word in (CANARY, KEY, uri):
            assert word not in str(error.value)
        service.script[:] = [Says(completion())]
        rig.clock.advance(61)
        for _ in range(2):
            rig.call(ocr_event(rig.image(b"a page")))

    assert rig.outcomes == ["failed", "miss", "hit_memory"]


def test_an_answer_beyond_all_bounds_is_none(rig, monkeypatch):
    """Read no further than the bound, and told as what it is."""
    monkeypatch.setattr(app.module_service, "ANSWER_BYTES", 1 << 20)
    with (
        scripted(Says(completion("x" * (1 << 20)))) as service,
        pytest.raises(errors.BadAnswerError, match="than 1 MB"),
    ):
        function(rig, service)(ocr_event(rig.image(b"p")), None)


def test_a_text_cut_by_its_limit_reaches_the_host_as_such_and_is_not_kept(rig):
    """P14: Assessment asks again in smaller batches when it reads `max_tokens`."""
    with scripted(Says(completion("Account 1", "length"))) as service:
        put_behind(rig, function(rig, service), errors.BackendError)
        answer = rig.call(ocr_event(rig.image(b"a page")))
    assert answer["stopReason"] == "max_tokens"
    assert rig.last["refusal"] == "truncated"
    assert rig.entries == []


class TestRetries:
    def test_what_may_pass_is_asked_again_with_growing_pauses(self, rig):
        """Pauses double and are drawn from their upper half."""
        with scripted(Says({}, 503), Says({}, 502, way="cut"), Says({}, 500), Says(completion())) as service:
            function(rig, service)(ocr_event(rig.image(b"p")), None)
        assert len(service.requests) == 4
        assert [longest / 2 <= pause <= longest for longest, pause in zip((1, 2, 4), rig.clock.slept, strict=True)] == [
            True
        ] * 3

    @pytest.mark.parametrize(
        ("retry", "draw", "asked_for", "pause"),
        [(1, 0, 0, 0.5), (1, 1, 0, 1), (3, 0, 0, 2), (5, 1, 7, 23), (6, 1, 0, 30), (10, 0, 0, 15)],
    )
    def test_a_pause_is_drawn_from_its_upper_half_and_has_an_end(self, retry, draw, asked_for, pause):
        """1, 2, 4, 8 ... up to 30 s, less up to a half, on top of what the service asks for."""
        assert app.module_service.Retries(draw=lambda: draw).pause(retry, asked_for) == pause

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
    def test_what_may_pass_is_asked_again(self, rig, status):
        with scripted(Says({}, status), Says(completion())) as service:
            function(rig, service)(ocr_event(rig.image(b"p")), None)
        assert len(service.requests) == 2

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
    def test_what_will_not_pass_is_asked_once(self, rig, status):
        with scripted(Says({}, status)) as service, pytest.raises(errors.ServiceRefusedError):
            function(rig, service)(ocr_event(rig.image(b"p")), None)
        assert len(service.requests) == 1

    @pytest.mark.parametrize(
        ("status", "remedy"), [(401, "key in the secret"), (403, "key in the secret"), (300, "moved"), (404, "URL")]
    )
    def test_a_refusal_says_what_to_look_at(self, rig, status, remedy):
        told = f"answered {status}: .*{remedy}"
        with scripted(Says({}, status)) as service, pytest.raises(errors.ServiceRefusedError, match=told):
            function(rig, service)(ocr_event(rig.image(b"p")), None)

    def test_a_packed_answer_may_be_shorter_than_what_was_sent(self, rig):
        """Its length is that of the packed bytes, which for a short text are more: nothing broke off."""
        packed = gzip.compress(json.dumps(completion()).encode(), compresslevel=0)
        with scripted(Says(packed, headers={"Content-Encoding": "gzip"})) as service:
            answer = function(rig, service)(ocr_event(rig.image(b"p")), None)
        assert answer["stopReason"] == "end_turn"

    @pytest.mark.parametrize("status", [501, 520, 529])
    def test_another_failure_of_the_server_is_its_own_and_asked_once(self, rig, status):
        """Not the request's fault, so no refusal: `negative_errors` must not hold it back. 500 and 503 above are repeated."""
        with scripted(Says({}, status)) as service, pytest.raises(errors.ServiceFailedError):
            function(rig, service)(ocr_event(rig.image(b"p")), None)
        assert len(service.requests) == 1

    @pytest.mark.parametrize("told", ["7", "Mon, 21 Sep 2026 13:33:27 GMT"], ids=["seconds", "date"])
    def test_the_services_own_time_is_waited_for(self, rig, told):
        with scripted(Says({}, 429, {"Retry-After": told}), Says(completion())) as service:
            made = function(rig, service)
            made._service.now = lambda: 1_789_997_600.0  # 7 s before that date
            made(ocr_event(rig.image(b"p")), None)
        assert 7 <= rig.clock.slept[0] <= 8.01

    def test_a_time_that_is_past_is_no_time(self, rig):
        """A service whose clock is behind ours: the pause is our own, and never less than none."""
        with scripted(Says({}, 429, {"Retry-After": "Mon, 21 Sep 2026 13:33:27 GMT"}), Says(completion())) as service:
            made = function(rig, service)
            made._service.now = lambda: 1_789_999_600.0
            made(ocr_event(rig.image(b"p")), None)
        assert 0.5 <= rig.clock.slept[0] <= 1

    @pytest.mark.parametrize(
        "told", ["soon", "Mon, 21 Sep 99999999999 13:33:27 GMT", "Mon, 21 Sep 2026 13:33:27 +99999999999"]
    )
    def test_a_time_that_cannot_be_read_is_none(self, rig, told):
        """The pause is our own then; a number that no date holds once ended the call."""
        with scripted(Says({}, 429, {"Retry-After": told}), Says(completion())) as service:
            function(rig, service)(ocr_event(rig.image(b"p")), None)
        assert len(service.requests) == 2
        assert rig.clock.slept[0] <= 1

    def test_no_wait_goes_past_the_deadline(self, rig):
        """P21: raised at once, while the function can still say why; nothing was waited."""
        with (
            scripted(Says({}, 429, {"Retry-After": "50"})) as service,
            pytest.raises(errors.ServiceThrottledError, match="timeout"),
        ):
            function(rig, service, left=30)(ocr_event(rig.image(b"p")), None)
        assert rig.clock.slept == []

    def test_a_call_that_is_not_answered_in_time_is_not_sent_twice(self, rig):
        """The server may have done the work, and would be paid twice."""
        with scripted(Says(way="silent")) as service, pytest.raises(errors.OutOfTimeError, match="REQUEST_TIMEOUT"):
            function(rig, service, REQUEST_TIMEOUT="1")(ocr_event(rig.image(b"p")), None)
        assert len(service.requests) == 1

    @pytest.mark.parametrize(
        "says",
        [Says(completion(), way="cut"), Says(completion(), 201, way="cut"), Says({}, 504)],
        ids=["its answer broke off", "status 201", "a gateway lost patience"],
    )
    def test_work_that_was_done_is_not_asked_for_again(self, rig, says):
        """It is charged; a proxy that cuts long answers would have had it paid five times, by each of the host's attempts."""
        with scripted(says) as service, pytest.raises(errors.ServiceFailedError):
            function(rig, service)(ocr_event(rig.image(b"p")), None)
        assert len(service.requests) == 1
        assert rig.clock.slept == []

    def test_a_server_that_is_not_there_is_told_with_what_to_check(self, rig):
        with scripted(Says(completion())) as service:
            made = function(rig, service, MAX_RETRIES="1")
        with pytest.raises(errors.ServiceFailedError, match="check its URL and this function's network"):
            made(ocr_event(rig.image(b"p")), None)
        assert len(rig.clock.slept) == 1

    def test_without_time_left_nothing_is_sent(self, rig):
        with scripted(Says(completion())) as service, pytest.raises(errors.OutOfTimeError):
            function(rig, service, left=1)(ocr_event(rig.image(b"p")), None)
        assert len(service.requests) == 0


class TestKey:
    @pytest.mark.parametrize("text", [KEY, f"  {KEY}\n", json.dumps({"api_key": KEY})])
    def test_the_secret_is_the_key_or_an_object_that_holds_it(self, rig, text):
        with scripted(Says(completion())) as service:
            function(rig, service, FakeSecrets(text))(event_of("OCR", ["x"]), None)
        assert service.requests[0].headers["authorization"] == f"Bearer {KEY}"

    @pytest.mark.parametrize("key", ["12345678901234567890", "1.50", "1e400"])
    @pytest.mark.parametrize("form", ["%s", '{"api_key": %s}'], ids=["alone", "member"])
    def test_a_key_that_json_takes_for_a_number_is_sent_as_it_is_spelt(self, rig, key, form):
        """Of a member without quotes the whole object went as the key."""
        with scripted(Says(completion())) as service:
            function(rig, service, FakeSecrets(form % key))(event_of("OCR", ["x"]), None)
        assert service.requests[0].headers["authorization"] == f"Bearer {key}"

    @pytest.mark.parametrize("text", ["", "{}", '{"a": "b", "c": "d"}', '{"a": true}', "two\nlines", "[]", "Schlüssel"])
    def test_a_secret_without_a_key_is_told_by_its_setting(self, rig, text):
        with (
            scripted(Says(completion())) as service,
            pytest.raises(errors.SettingsError, match="OPENAI_API_KEY_SECRET_ARN"),
        ):
            function(rig, service, FakeSecrets(text))(event_of("OCR", ["x"]), None)
        assert len(service.requests) == 0

    def test_it_is_read_once_and_again_after_a_refusal(self, rig):
        """A rotated key is found by the host's next attempt, without a redeployment."""
        secrets = FakeSecrets("old-key")
        with scripted(Says(completion()), Says(completion()), Says({}, 401), Says(completion())) as service:
            made = function(rig, service, secrets)
            event = event_of("OCR", ["x"])
            made(event, None)
            made(event, None)
            secrets.text = KEY
            with pytest.raises(errors.ServiceRefusedError, match="key"):
                made(event, None)
            made(event, None)
        assert secrets.reads == 2
        assert service.requests[3].headers["authorization"] == f"Bearer {KEY}"

    def test_a_server_that_wants_a_key_where_no_secret_is_named_is_told_as_such(self, rig):
        """There is no key to be checked."""
        with (
            scripted(Says({}, 401)) as service,
            pytest.raises(errors.ServiceRefusedError, match="without a secret none is sent"),
        ):
            function(rig, service, OPENAI_API_KEY_SECRET_ARN="")(event_of("OCR", ["x"]), None)

    def test_a_secret_that_may_not_be_read_names_the_right(self, rig):
        secrets = FakeSecrets()
        secrets.error = refusal("AccessDeniedException", operation="GetSecretValue")
        with (
            scripted(Says(completion())) as service,
            pytest.raises(errors.SettingsError, match="secretsmanager:GetSecretValue"),
        ):
            function(rig, service, secrets)(event_of("OCR", ["x"]), None)

    @pytest.mark.parametrize(
        ("trouble", "family"),
        [
            (ConnectTimeoutError(endpoint_url=CANARY), "ServiceFailedError"),
            (refusal("ThrottlingException", CANARY, "GetSecretValue"), "ServiceFailedError"),
            (refusal("ResourceNotFoundException", CANARY, "GetSecretValue"), "SettingsError"),
        ],
        ids=["out of reach", "throttled", "not there"],
    )
    def test_a_secret_that_may_be_read_later_is_no_wrong_setting(self, rig, trouble, family):
        """A network or a moment's throttle is not mended by the right to read it."""
        secrets = FakeSecrets()
        secrets.error = trouble
        told = {"ServiceFailedError": "network", "SettingsError": "exists"}[family]
        with scripted(Says(completion())) as service, pytest.raises(errors.BackendError, match=told) as error:
            function(rig, service, secrets)(event_of("OCR", ["x"]), None)
        assert type(error.value).__name__ == family
        assert CANARY not in str(error.value)

    def test_a_secret_that_does_not_come_is_waited_for_until_the_deadline(self, rig):
        """P21: a function in a VPC without a way to Secrets Manager says so itself, before Lambda ends it without a word."""
        came = threading.Event()

        class Silent(FakeSecrets):
            def get_secret_value(self, **arguments: Any) -> dict[str, Any]:
                came.wait(30)
                return super().get_secret_value(**arguments)

        event = event_of("OCR", ["x"])
        with scripted(Says(completion())) as service:
            with pytest.raises(errors.OutOfTimeError, match=r"Secrets Manager.*timeout"):
                function(rig, service, Silent(KEY), left=2.2)(event, None)
            assert len(service.requests) == 0
            came.set()
            function(rig, service, Silent(KEY), left=2.2)(event, None)  # control: one that comes is used in that time
        assert len(service.requests) == 1


def test_nothing_confidential_is_logged(rig, caplog):
    """P36: canaries in prompt, image, key, error prose and answer; every logger at its most talkative."""
    caplog.set_level(logging.DEBUG)
    script = [Says({"error": {"message": CANARY}}, 500), Says({}, 429), Says(completion(f"Text of {CANARY}"))]
    with scripted(*script) as service:
        function(rig, service)(ocr_event(rig.image(CANARY.encode())), None)
    assert any("retry 2" in line for line in caplog.messages)  # control: the log is not empty
    for word in (CANARY, KEY, base64.b64encode(CANARY.encode()).decode(), "s3://"):
        assert word not in caplog.text


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("OPENAI_BASE_URL", ""),
            ("OPENAI_BASE_URL", "ftp://host/v1"),
            ("OPENAI_BASE_URL", "http://models.example/v1"),
            ("OPENAI_BASE_URL", "https://user:word@host/v1"),
            ("OPENAI_BASE_URL", "https://:word@host/v1"),
            ("OPENAI_BASE_URL", "https://[fd00::1/v1"),
            ("OPENAI_BASE_URL", "https://host:port/v1"),
            ("OPENAI_BASE_URL", "https://host:443443/v1"),
            ("OPENAI_BASE_URL", "https://host/v1?key=word"),
            ("OPENAI_BASE_URL", "https://host/v1#word"),
            ("OPENAI_MODEL", " "),
            ("OPENAI_BODY", "[1]"),
            ("OPENAI_BODY", "{"),
            ("OPENAI_BODY", '{"seed": NaN}'),
            ("OPENAI_BODY", '{"seed": [1e999]}'),
            ("OPENAI_BODY", '{"deep": ' + "[" * 100_000),
            ("BLANK_PAGES", "yes"),
            ("REQUEST_TIMEOUT", "soon"),
            ("MAX_RETRIES", "11"),
            ("MAX_RETRIES", "2.5"),
            ("RETRY_BASE_DELAY", "nan"),
        ],
    )
    def test_a_wrong_one_stops_the_function_at_its_start_and_is_named(self, rig, name, value):
        """P52: plain HTTP only where no key goes along. What a URL holds beside the host may be a secret, and is not told."""
        with pytest.raises(errors.SettingsError, match=name) as error:
            function(rig, SimpleNamespace(url="http://127.0.0.1"), **{name: value})
        assert "word" not in str(error.value)

    def test_plain_http_serves_a_server_of_ones_own_without_a_key(self, rig):
        function(
            rig,
            SimpleNamespace(url="http://127.0.0.1"),
            OPENAI_BASE_URL="http://vllm.internal:8000/v1",
            OPENAI_API_KEY_SECRET_ARN="",
        )


@pytest.fixture(scope="module")
def server():
    with OpenAiServer() as server:
        server.tell = lambda texts, images: Told(f"Account {len(images[0])}", 100 + len("".join(texts)), 3, 1)
        yield server


class TestServer:
    """The server of the demo speaks the same language, and misbehaves as told."""

    def ask(self, rig: Any, server: Any, **environment: str) -> Any:
        made = function(rig, server, FakeSecrets(server.key), OPENAI_MODEL=MODEL, **environment)
        return made(ocr_event(rig.image(b"\x00\r\n page")), None)

    def test_it_reads_the_very_bytes_and_counts_a_prompt_seen_before_as_cached(self, rig, server):
        first, again = self.ask(rig, server), self.ask(rig, server)
        assert first["output"]["message"]["content"] == [{"text": "Account 8"}]
        assert first["stopReason"] == "end_turn"
        assert 0 < again["usage"]["cacheReadInputTokens"] < first["usage"]["inputTokens"]
        assert again["usage"]["totalTokens"] == first["usage"]["totalTokens"]

    def test_it_cuts_at_the_limit_of_tokens(self, rig, server):
        answer = self.ask(rig, server, OPENAI_BODY='{"max_tokens": 1}')
        assert answer["output"]["message"]["content"] == [{"text": "Acco"}]
        assert answer["stopReason"] == "max_tokens"

    @pytest.mark.parametrize(
        ("how", "expected"),
        [
            ("server_error", "ServiceFailedError"),
            ("malformed", "BadAnswerError"),
            ("cut", "ServiceFailedError"),
            ("empty", "BadAnswerError"),
            ("filtered", "BadAnswerError"),
            ("error_200", "ServiceFailedError"),
            ("throttle", "ServiceThrottledError"),
        ],
    )
    def test_it_misbehaves_as_told(self, rig, server, how, expected):
        server.misbehave(how)
        with pytest.raises(errors.BackendError) as error:
            self.ask(rig, server, MAX_RETRIES="0")
        assert type(error.value).__name__ == expected

    def test_it_knows_its_key(self, rig, server):
        with pytest.raises(errors.ServiceRefusedError, match="401"):
            function(rig, server, FakeSecrets("another"), OPENAI_MODEL=MODEL)(ocr_event(rig.image(b"p")), None)

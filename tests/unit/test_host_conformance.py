"""
The hook behind a double of the host's client: both timeouts, the retry ladder, both forms of metering, and what the host
reads of an answer. The double is `hookcache_ops.host`; Lambda between the two is a few lines here.
"""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from fakes import BACKEND, BUCKET, WRAPPER, BackendRaised, answer, fitting_answer, page_answer, refusal, token_answer
from hookcache_ops.host import NEW_TIMEOUTS, HostClient, Timeouts, raw_text, text_of
from hookcache_ops.host_metering import MeteringForm
from hookcache_ops.host_requests import Call, InlineImage, ocr
from host_steps import (
    OLD_TIMEOUTS,
    MeteringSums,
    assessment,
    classification,
    extraction,
    is_truncated,
    json_of,
    summarization,
)

ARN = f"arn:aws:lambda:us-east-1:123456789012:function:{WRAPPER}:live"
PAGES = [b"page %d" % number for number in range(5)]


class Platform:
    """
    Lambda as the host sees it: an exception becomes an Unhandled payload, and a caller that waits too long hears nothing
    while the invocation runs on to its end.
    """

    def __init__(self, rig: Any, timeouts: Timeouts, around: Any = None) -> None:
        self.rig, self.timeouts, self.around = rig, timeouts, around
        self.invocations = 0
        self.refusals: list[Exception] = []

    def invoke(self, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        if self.refusals:
            raise self.refusals.pop(0)
        for _ in range(self.timeouts.sdk_attempts):
            self.invocations += 1
            began = self.rig.clock.elapsed()
            reply = self._run(json.loads(Payload))
            if self.rig.clock.elapsed() - began <= self.timeouts.read_seconds:
                return reply
        raise ReadTimeoutError(endpoint_url="https://lambda")

    def _run(self, event: Any) -> dict[str, Any]:
        if self.around is not None:
            return self.around(event)
        try:
            answered = self.rig.call(event, self.rig.first)
        except Exception as error:
            failed = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": []}
            return {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(failed).encode())}
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(answered).encode())}


def host(rig, timeouts=NEW_TIMEOUTS, around=None, **form):
    platform = Platform(rig, timeouts, around)
    client = HostClient(
        invoke=platform.invoke,
        function=form.pop("function", WRAPPER),
        s3=rig.s3,
        bucket=BUCKET,
        clock=rig.clock,
        jitter=lambda: 0.0,
        **form,
    )
    return client, platform


def steps() -> list[Call]:
    image = InlineImage(b"page")
    return [
        ocr(image),
        classification("Invoice 4711", ["invoice", "letter"], image),
        extraction("invoice", {"total": "what is to be paid"}, "Total 17.20", [image]),
        assessment("invoice", {"total": "what is to be paid"}, {"total": "17.20"}, {"total": 0.9}, [image]),
        summarization("Total 17.20", {"total": "17.20"}),
    ]


@pytest.mark.parametrize("call", steps(), ids=lambda call: call.context)
@pytest.mark.parametrize("timeouts", [OLD_TIMEOUTS, NEW_TIMEOUTS], ids=["old timeouts", "new timeouts"])
def test_a_hit_is_accepted_and_metered_as_zero(rig, call, timeouts):
    """P9, P32, S6, S48: each step, its images uploaded anew each time; `requests` is the host's own 1."""
    client, platform = host(rig, timeouts)
    miss, hit = client.call(call), client.call(call)
    key = f"{call.context}/lambda_hook/{WRAPPER}"

    assert ["miss", "hit_memory"] == rig.outcomes
    assert {**miss.response, "usage": 0} == {**hit.response, "usage": 0}
    assert {key: {"inputTokens": 1500, "outputTokens": 200, "totalTokens": 1700, "requests": 1}} == miss.metering
    assert {key: {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0, "requests": 1}} == hit.metering
    assert 2 == platform.invocations == client.metrics.counts["LambdaHookRequestsSucceeded"]


@pytest.mark.parametrize(
    ("form", "name"), [(MeteringForm.CONFIGURED, ARN), (MeteringForm.BARE, WRAPPER)], ids=["before PR 952", "after"]
)
@pytest.mark.parametrize("numbers_only", [False, True], ids=["copies everything", "numbers only"])
def test_both_forms_of_metering_are_served(rig, form, name, numbers_only):
    """P32, P33, S54, S55: whatever the host does with `usage`, it can do it with ours; sums equal what was really spent."""
    client, _ = host(rig, function=ARN, metering=form, numbers_only=numbers_only)
    rig.backend.handler = lambda event: (
        page_answer() | {"usage": {"pages": 1, "inputTokens": 7, "note": "x", "cached": True}}
    )
    sums = MeteringSums()
    for _ in range(3):
        sums.add(client.call(ocr(InlineImage(b"page"))).metering)

    assert {"pages": 1, "inputTokens": 7, "requests": 3} == sums.of(f"OCR/lambda_hook/{name}")
    assert {f"OCR/lambda_hook/{name}"} == sums.keys()
    assert f"OCR/lambda_hook/{WRAPPER}" == rig.last["MeteringKey"]


def test_the_host_reads_the_same_of_a_hit_as_of_a_miss(rig):
    """P9, S27: text, blocks, raw text and truncation; nothing of ours ends up in the customer's bucket."""
    client, _ = host(rig)
    rig.backend.handler = lambda event: page_answer("# Page\n\n{}")
    miss, hit = (client.call(ocr(InlineImage(b"page"))).response for _ in range(2))

    assert text_of(miss) == text_of(hit)
    assert raw_text(miss) == raw_text(hit) == miss["textractBlocks"]
    assert is_truncated(miss) is is_truncated(hit) is False


def test_an_answer_without_blocks_is_stored_by_the_host_as_it_is(rig):
    """P9: the whole response object becomes the page's raw text, so no member of ours may be in it."""
    client, _ = host(rig)
    rig.backend.handler = lambda event: token_answer("plain")
    miss, hit = (client.call(ocr(InlineImage(b"page"))).response for _ in range(2))

    assert {"output", "stopReason", "usage"} == raw_text(hit).keys()
    assert raw_text(miss) | {"usage": 0} == raw_text(hit) | {"usage": 0}


def test_json_answers_are_found_on_a_hit(rig):
    """P47, S24: bare, fenced or in prose, as the host finds them."""
    client, _ = host(rig)
    call = classification("Invoice 4711", ["invoice"])
    for text in ('{"class": "invoice"}', '```json\n{"class": "invoice"}\n```', 'Sure: {"class": "invoice"}'):
        rig.backend.handler = lambda event, text=text: token_answer(text)
        rig.clock.advance(8 * 86_400)
        for _ in range(2):
            assert {"class": "invoice"} == json_of(text_of(client.call(call).response))

    assert ["miss", "hit_memory"] * 3 == rig.outcomes


class TestRetries:
    def test_a_backend_that_recovers_is_retried_up_the_ladder(self, rig):
        """P17, F20, S26: Unhandled is retried whatever its type; no error is kept, so the retry reaches the backend."""
        rig.backend.replies = [BackendRaised("ThrottlingException", "Too many")] * 3
        client, platform = host(rig)
        client.call(ocr(InlineImage(b"page")))

        assert [2.0, 4.0, 8.0] == rig.clock.slept
        assert 4 == platform.invocations == len(rig.backend.calls)
        assert ["failed", "failed", "failed", "miss"] == rig.outcomes

    def test_a_backend_that_does_not_recover_is_told_in_its_own_words(self, rig):
        """P17, F20: after eight attempts the host raises what the backend said."""
        rig.backend.handler = lambda event: BackendRaised("ValidationException", "the image is upside down")
        client, platform = host(rig)
        with pytest.raises(RuntimeError, match="LambdaHook function error: the image is upside down"):
            client.call(ocr(InlineImage(b"page")))

        assert 8 == platform.invocations == len(rig.backend.calls)
        assert [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0] == rig.clock.slept

    def test_notes_on_errors_spare_the_backend_and_not_the_host(self, make_rig):
        """P17: with negative notes the ladder's quick attempts do not reach the backend."""
        policy = json.dumps({"OCR": {"negative_errors": ["ValidationException"]}})
        rig = make_rig(HOOKCACHE_POLICY=policy)
        rig.backend.handler = lambda event: BackendRaised("ValidationException", "upside down")
        client, platform = host(rig)
        with pytest.raises(RuntimeError):
            client.call(ocr(InlineImage(b"page")))

        assert (8, True) == (platform.invocations, len(rig.backend.calls) < 5)

    def test_a_throttled_wrapper_is_retried(self, rig):
        """P22: reserved concurrency on the wrapper gives the host a real 429."""
        client, platform = host(rig)
        platform.refusals = [refusal("TooManyRequestsException")] * 2
        client.call(ocr(InlineImage(b"page")))

        assert (1, 2) == (platform.invocations, client.metrics.counts["LambdaHookThrottles"])

    @pytest.mark.parametrize("reply", [b"null", b"[]", b'"text"'])
    def test_a_reply_that_is_no_object_is_passed_on_and_retried(self, rig, reply):
        """P14, F24: the host retries it; nothing is kept, so a later attempt may succeed."""
        rig.backend.replies = [reply] * 2
        client, platform = host(rig)
        client.call(ocr(InlineImage(b"page")))

        assert 3 == platform.invocations == len(rig.backend.calls)

    def test_a_bad_usage_no_longer_fails_the_host(self, rig):
        """P33, S54: text in place of an object made older hosts meter, fail and retry."""
        rig.backend.handler = lambda event: answer("page") | {"usage": "7 tokens"}
        client, platform = host(rig)
        reply = client.call(ocr(InlineImage(b"page")))

        assert {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0, "requests": 1} == reply.metering[
            f"OCR/lambda_hook/{WRAPPER}"
        ]
        assert 1 == platform.invocations


class TestSlowBackends:
    """A backend of 75 s behind the host's old timeout of 60 s: without the wrapper no page is ever finished."""

    def pages(self, client):
        done = 0
        for page in PAGES:
            try:
                client.call(ocr(InlineImage(page)))
                done += 1
            except ReadTimeoutError:
                continue
        return done

    def test_a_late_result_is_there_for_the_hosts_retry(self, rig):
        """P53, S38, G14: five pages, five backend calls, five finished."""
        rig.backend.seconds = 75
        client, _ = host(rig, OLD_TIMEOUTS)

        assert (5, 5) == (self.pages(client), len(rig.backend.calls))

    def test_control_without_the_wrapper(self, rig):
        """S38, control: the same host and backend alone: many invocations, no page."""
        invoked = []

        def bare(event):
            invoked.append(event)
            rig.clock.advance(75)
            return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(fitting_answer(event)).encode())}

        client, platform = host(rig, OLD_TIMEOUTS, bare, function=BACKEND)

        assert 0 == self.pages(client)
        assert 5 * 8 * 5 == platform.invocations == len(invoked)

    def test_new_timeouts_wait_for_it(self, rig):
        """P22, control: 840 s are enough for both."""
        rig.backend.seconds = 75
        client, platform = host(rig, NEW_TIMEOUTS)

        assert (5, 5, 5) == (self.pages(client), len(rig.backend.calls), platform.invocations)


def test_an_image_that_was_not_uploaded_is_passed_through(rig):
    """P42, B11: without a working bucket the host sends repr text; it goes on as it is and is not kept."""
    client, _ = host(rig)
    client.bucket = ""
    for _ in range(2):
        client.call(ocr(InlineImage(b"\xff\xd8\xff")))

    assert "b'\\xff\\xd8\\xff'" == rig.backend.calls[0]["messages"][0]["content"][1]["image"]["source"]["bytes"]
    assert ("bypass", "inline_image") == (rig.last["outcome"], rig.last["reason"])

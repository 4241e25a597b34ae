"""The double of the host's client: what it sends, how it retries, what it writes down and what it reads from answers."""

import io
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from hookcache_ops.host import NEW_TIMEOUTS, HostClient, raw_text, text_of
from hookcache_ops.host_metering import MeteringForm, metering_key, recorded_usage
from hookcache_ops.host_requests import Call, InlineImage, StoredImage, ocr
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

ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Account 12345"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 100, "outputTokens": 50},
}


class ListedClock:
    """A clock that passes only while somebody sleeps, and remembers each sleep."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []

    def now_ms(self) -> int:
        return int(self.elapsed() * 1000)

    def elapsed(self) -> float:
        return sum(self.sleeps)

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)


class Bucket:
    """S3 that remembers what was put; `broken` refuses."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.objects: dict[tuple[str, str], bytes] = {}

    def put_object(self, **given: Any) -> None:
        if self.broken:
            raise api_error("AccessDenied")
        self.objects[given["Bucket"], given["Key"]] = given["Body"]


def api_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Invoke")


def time_out() -> ReadTimeoutError:
    return ReadTimeoutError(endpoint_url="http://lambda")


def replied(body: Any, error: str = "") -> dict[str, Any]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {"StatusCode": 200, "Payload": io.BytesIO(text), **({"FunctionError": error} if error else {})}


def unhandled() -> dict[str, Any]:
    return replied({"errorMessage": "too many requests", "errorType": "ThrottlingException"}, "Unhandled")


@dataclass
class Lambda:
    """Answers each invocation with the next of `script`, the last one for ever; errors are raised."""

    script: list[Any]
    payloads: list[bytes] = field(default_factory=list)

    def invoke(self, **given: Any) -> Any:
        assert given["InvocationType"] == "RequestResponse"
        make = self.script[min(len(self.payloads), len(self.script) - 1)]
        self.payloads.append(given["Payload"])
        answer = make() if callable(make) else make
        if isinstance(answer, Exception):
            raise answer
        return answer


def answered() -> dict[str, Any]:
    return replied(ANSWER)


def rig(*script: Any, **settings: Any) -> tuple[HostClient, Lambda, ListedClock]:
    service, clock = Lambda(list(script) or [answered]), ListedClock()
    settings = {"function": "GENAIIDP-cache-ocr", "jitter": lambda: 0.0, "clock": clock, **settings}
    return HostClient(service.invoke, **settings), service, clock


class TestRequest:
    def test_an_ocr_event_has_five_members_in_the_hosts_order(self):
        """Every event holds modelId, messages, system, inferenceConfig, context, in this order, as in the host's own."""
        client, _, _ = rig(s3=Bucket(), bucket="working", name=lambda: "0" * 32)
        event = client.event(ocr(InlineImage(b"\xff\xd8page")))

        assert list(event) == ["modelId", "messages", "system", "inferenceConfig", "context"]
        assert event["modelId"] == "LambdaHook"
        assert event["context"] == "OCR"
        assert [event["inferenceConfig"]] == [{"temperature": 0.0, "topP": 0.1, "topK": 5}]
        [message] = event["messages"]
        assert message["role"] == "user"
        uri = f"s3://working/temp/lambdahook/{'0' * 32}.jpeg"
        assert {"image": {"format": "jpeg", "source": {"s3Location": {"uri": uri}}}} == message["content"][1]

    def test_each_logical_call_uploads_under_a_new_name_and_its_attempts_share_it(self):
        """Equal images get new names per call; the attempts of one call send the same bytes."""
        bucket = Bucket()
        client, service, _ = rig(unhandled, answered, answered, s3=bucket, bucket="working")
        client.call(ocr(InlineImage(b"page")))
        client.call(ocr(InlineImage(b"page")))

        first, retry, second = service.payloads
        assert first == retry
        assert first != second
        assert list(bucket.objects.values()) == [b"page", b"page"]
        for _, key in bucket.objects:
            name = key.removeprefix("temp/lambdahook/").removesuffix(".jpeg")
            assert len(name) == 32
            assert int(name, 16) >= 0

    @pytest.mark.parametrize(
        ("account", "owner"),
        [("123456789012", {"bucketOwner": "123456789012"}), ("", {}), ("12345", {})],
    )
    def test_the_owner_is_named_only_for_an_account_of_12_digits(self, account, owner):
        """The stock steps lack the account, and then `bucketOwner` is absent."""
        client, _, _ = rig(s3=Bucket(), bucket="working", account=account)
        location = client.event(ocr(InlineImage(b"p")))["messages"][0]["content"][1]["image"]["source"]
        assert owner == {name: value for name, value in location["s3Location"].items() if name != "uri"}

    @pytest.mark.parametrize("without", ["bucket", "right"])
    def test_bytes_that_were_not_uploaded_travel_as_repr_text(self, without):
        """Without a bucket, or after a failed upload, the image is Python repr text and not base64."""
        client, _, _ = rig(s3=Bucket(broken=True), bucket="" if without == "bucket" else "working")
        event = json.loads(client.payload(ocr(InlineImage(b"\xff\xd8"))))
        assert event["messages"][0]["content"][1]["image"]["source"] == {"bytes": "b'\\xff\\xd8'"}

    def test_a_stored_image_passes_through(self):
        """An image that already had a reference keeps it, and nothing is uploaded."""
        bucket = Bucket()
        client, _, _ = rig(s3=bucket, bucket="working")
        event = client.event(ocr(StoredImage("s3://other/image.png", "png")))
        source = event["messages"][0]["content"][1]["image"]
        assert source == {"format": "png", "source": {"s3Location": {"uri": "s3://other/image.png"}}}
        assert bucket.objects == {}

    def test_the_cache_point_leaves_user_text_only(self):
        """The marker is cut out of user text, its spaces stay, a block of it alone becomes empty; blank blocks go."""
        client, _, _ = rig()
        call = Call("OCR", ("before <<CACHEPOINT>> after", "<<CACHEPOINT>>", "  "), system="keep <<CACHEPOINT>>")
        event = client.event(call)
        assert event["messages"][0]["content"] == [{"text": "before  after"}, {"text": ""}]
        assert event["system"] == [{"text": "keep <<CACHEPOINT>>"}]

    def test_a_list_of_system_blocks_goes_through_untouched(self):
        client, _, _ = rig()
        system = [{"text": "a"}, {"cachePoint": {"type": "default"}}]
        assert system == client.event(Call("OCR", ("x",), system=system))["system"]

    @pytest.mark.parametrize(
        ("numbers", "config"),
        [
            ({"temperature": "0.5"}, '{"temperature": 0.5}'),
            ({"temperature": "warm"}, '{"temperature": 0.0}'),
            ({"temperature": 0}, '{"temperature": 0}'),
            ({"temperature": 0.0, "top_p": 0}, '{"temperature": 0.0}'),
            ({"top_p": "0.1", "top_k": "5"}, '{"temperature": 0.0, "topP": 0.1, "topK": 5}'),
            ({"top_k": 5.0, "max_tokens": "4096"}, '{"temperature": 0.0, "topK": 5, "maxTokens": 4096}'),
            ({"max_tokens": "many"}, '{"temperature": 0.0}'),
            ({"max_tokens": 4096.0}, '{"temperature": 0.0, "maxTokens": 4096.0}'),
        ],
    )
    def test_numbers_are_sent_as_the_host_spells_them(self, numbers, config):
        """Texts are converted, other numbers pass as they are, and what is not configured is absent."""
        client, _, _ = rig()
        assert config == json.dumps(client.event(Call("OCR", ("x",), **numbers))["inferenceConfig"])

    def test_the_payload_is_ascii(self):
        """Non-ASCII text is escaped on the wire: 6 bytes for a letter of the basic plane, 12 for an emoji."""
        client, _, _ = rig()
        assert '"text": "Caf\\u00e9 \\ud83d\\ude00"' in client.payload(Call("OCR", ("Café 😀",)))

    def test_tools_are_refused(self):
        client, service, _ = rig()
        with pytest.raises(ValueError, match="takes no tools"):
            client.call(Call("Extraction", ("x",), tools={"tools": []}))
        assert service.payloads == []

    def test_every_step_has_its_own_context_and_embeds_the_step_before(self):
        """A changed early answer changes every later request (the cascade that makes caching OCR first worth it)."""
        calls = [
            classification("page text", ["letter", "invoice"]),
            extraction("letter", {"date": "when"}, "page text", [StoredImage("s3://b/i.jpeg")]),
            assessment("letter", {"date": "when"}, {"date": "1 May"}, [["1 May", 99.5]]),
            summarization("page text", {"date": "1 May"}),
        ]
        assert [call.context for call in calls] == ["Classification", "Extraction", "Assessment", "Summarization"]
        embedded = ["page text", "page text", '{\n  "date": "1 May"\n}', '{\n  "date": "1 May"\n}']
        for call, text in zip(calls, embedded, strict=True):
            assert text in "".join(part for part in call.content if isinstance(part, str))


class TestName:
    @pytest.mark.parametrize("name", ["", "arn:aws:lambda:us-east-1:123456789012:function:mine"])
    def test_a_name_that_the_host_refuses_never_reaches_lambda(self, name):
        client, service, _ = rig(function=name)
        with pytest.raises(ValueError, match="hook"):
            client.call(Call("OCR", ("x",)))
        assert service.payloads == []

    @pytest.mark.parametrize(
        "name", ["mine", "mine:live", "arn:aws:lambda:us-east-1:123456789012:function:GENAIIDP-x:1"]
    )
    def test_bare_names_and_aliases_go_unchecked(self, name):
        client, service, _ = rig(function=name)
        client.call(Call("OCR", ("x",)))
        assert len(service.payloads) == 1


class TestLadder:
    def test_eight_attempts_with_doubling_sleeps(self):
        """Unhandled errors are retried 7 times after 2, 4, ... 128 s; the last one raises the error's message."""
        client, service, clock = rig(unhandled)
        with pytest.raises(RuntimeError, match="LambdaHook function error: too many requests"):
            client.call(Call("OCR", ("x",)))
        assert len(service.payloads) == 8
        assert clock.sleeps == [2, 4, 8, 16, 32, 64, 128]

    def test_jitter_is_added_to_each_sleep(self):
        client, _, clock = rig(unhandled, unhandled, answered, jitter=lambda: 0.75)
        client.call(Call("OCR", ("x",)))
        assert clock.sleeps == [2.75, 4.75]

    def test_a_failure_is_counted_by_every_attempt_around_it(self):
        """All Unhandled: 8 invocations, 9 points of RequestsFailed, no success, one request in all."""
        client, _, _ = rig(unhandled)
        with pytest.raises(RuntimeError):
            client.call(Call("OCR", ("x",)))
        assert dict(client.metrics.counts) == {"LambdaHookRequestsTotal": 1, "LambdaHookRequestsFailed": 9}

    @pytest.mark.parametrize(("before", "invocations"), [(0, 8), (1, 15), (2, 21), (7, 36)])
    def test_time_outs_behind_unhandled_errors_multiply(self, before, invocations):
        """Each retry begun for a function error starts the ladder behind it again when that one times out."""
        client, service, _ = rig(*[unhandled] * before, time_out)
        with pytest.raises(ReadTimeoutError):
            client.call(Call("OCR", ("x",)))
        assert invocations == len(service.payloads)

    def test_another_function_error_is_not_retried_and_counts_twice(self):
        client, service, clock = rig(replied({"errorMessage": "no"}, "Handled"))
        with pytest.raises(RuntimeError, match="LambdaHook function error: no"):
            client.call(Call("OCR", ("x",)))
        assert (len(service.payloads), clock.sleeps) == (1, [])
        assert client.metrics.counts["LambdaHookRequestsFailed"] == 2

    @pytest.mark.parametrize(
        "code", ["TooManyRequestsException", "ServiceException", "EC2ThrottledException", "ResourceConflictException"]
    )
    def test_throttles_of_lambda_are_retried_and_counted(self, code):
        client, service, clock = rig(api_error(code), api_error(code), answered)
        client.call(Call("OCR", ("x",)))
        assert (len(service.payloads), clock.sleeps) == (3, [2, 4])
        assert client.metrics.counts["LambdaHookThrottles"] == 2

    @pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "RequestTooLargeException"])
    def test_other_api_errors_are_raised_at_once(self, code):
        client, service, _ = rig(api_error(code))
        with pytest.raises(ClientError):
            client.call(Call("OCR", ("x",)))
        assert len(service.payloads) == 1
        assert client.metrics.counts["LambdaHookRequestsFailed"] == 1

    @pytest.mark.parametrize("body", [b"<html>", None, [], "text"], ids=["html", "null", "list", "string"])
    def test_a_reply_that_is_no_object_is_retried_without_a_count(self, body):
        client, service, _ = rig(lambda: replied(body), answered)
        client.call(Call("OCR", ("x",)))
        assert len(service.payloads) == 2
        assert dict(client.metrics.counts) == {"LambdaHookRequestsTotal": 1, "LambdaHookRequestsSucceeded": 1}

    def test_any_object_is_a_success_whatever_it_holds(self):
        """An error in the shape of an answer stops the ladder and is metered; only the step fails, by KeyError."""
        client, service, _ = rig(lambda: replied({"errorMessage": "no"}))
        reply = client.call(Call("OCR", ("x",)))
        assert len(service.payloads) == 1
        with pytest.raises(KeyError):
            text_of(reply.response)

    def test_a_truthy_usage_that_is_no_object_is_counted_as_success_and_retried(self):
        client, service, _ = rig(lambda: replied({**ANSWER, "usage": [1]}), answered)
        client.call(Call("OCR", ("x",)))
        assert len(service.payloads) == 2
        assert client.metrics.counts["LambdaHookRequestsSucceeded"] == 2

    def test_both_latencies_are_recorded_for_the_call_that_succeeds(self):
        """RequestLatency is the last attempt's, TotalLatency includes the sleeps."""
        client, _, clock = rig(unhandled, lambda: clock.sleep(0.25) or answered())
        reply = client.call(Call("OCR", ("x",)))
        assert reply.latency_ms == 250.0
        assert client.metrics.values_ms == {"LambdaHookRequestLatency": [250.0], "LambdaHookTotalLatency": [2250.0]}


class TestTimeouts:
    def test_both_regimes_are_the_hosts(self):
        """Old: 60 s and 5 tries inside the SDK; new: 10 s to connect, 840 s to read, 1 try."""
        old, new = OLD_TIMEOUTS.config(), NEW_TIMEOUTS.config()
        assert (old.connect_timeout, old.read_timeout, old.retries["total_max_attempts"]) == (60, 60, 5)
        assert (new.connect_timeout, new.read_timeout, new.retries["total_max_attempts"]) == (10, 840, 1)


ARN = "arn:aws:lambda:us-east-1:123456789012:function:GENAIIDP-cache"


class TestMetering:
    @pytest.mark.parametrize(
        "function",
        [ARN, f"{ARN}:live", f"{ARN}:7", ARN.replace("aws", "aws-us-gov", 1), "GENAIIDP-cache", "GENAIIDP-cache:live"],
    )
    def test_the_newer_key_holds_the_bare_name(self, function):
        assert metering_key("OCR", function, MeteringForm.BARE) == "OCR/lambda_hook/GENAIIDP-cache"

    def test_the_older_key_holds_the_string_as_configured(self):
        assert f"OCR/lambda_hook/{ARN}:live" == metering_key("OCR", f"{ARN}:live", MeteringForm.CONFIGURED)

    @pytest.mark.parametrize("usage", [None, {}, 0], ids=["absent", "empty", "zero"])
    def test_no_usage_is_three_zeros(self, usage):
        zeros = {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0, "requests": 1}
        assert zeros == recorded_usage(usage, numbers_only=True)

    def test_requests_is_one_for_a_hit_as_well(self):
        assert recorded_usage({"pages": 0, "requests": 9}, numbers_only=True) == {"pages": 0, "requests": 1}

    def test_newer_hosts_keep_numbers_only(self):
        usage = {"pages": 1, "rate": 0.5, "cached": True, "model": "m", "detail": {"a": 1}, "list": [1]}
        assert recorded_usage(usage, numbers_only=True) == {"pages": 1, "rate": 0.5, "requests": 1}
        assert {**usage, "requests": 1} == recorded_usage(usage, numbers_only=False)

    def test_a_call_is_metered_under_its_step_and_function(self):
        client, _, _ = rig(function=f"{ARN}:live", metering=MeteringForm.CONFIGURED)
        reply = client.call(Call("Extraction", ("x",)))
        usage = {"inputTokens": 100, "outputTokens": 50, "requests": 1}
        assert {f"Extraction/lambda_hook/{ARN}:live": usage} == reply.metering

    def test_sums_report_what_is_no_number_as_one(self):
        sums = MeteringSums()
        for _ in range(2):
            sums.add({"OCR/lambda_hook/x": {"pages": 3, "model": "m", "requests": 1}})
        assert sums.of("OCR/lambda_hook/x") == {"pages": 6, "model": 2.0, "requests": 2}
        assert {"OCR/lambda_hook/x"} == sums.keys()


def message(*content: Any) -> dict[str, Any]:
    return {"output": {"message": {"role": "assistant", "content": list(content)}}}


class TestResponse:
    def test_every_text_is_joined_without_separator(self):
        """Blocks of reasoning and tool use are skipped."""
        blocks = ({"text": "a"}, {"reasoningContent": {"text": "no"}}, {"toolUse": {}}, {"text": "b"})
        assert text_of(message(*blocks)) == "ab"

    def test_no_content_is_an_empty_text_and_an_error_in_the_log(self, caplog):
        assert text_of(message()) == ""
        assert [record.levelname for record in caplog.records] == ["ERROR"]

    @pytest.mark.parametrize("response", [{}, {"output": {}}])
    def test_a_missing_message_is_a_key_error(self, response):
        with pytest.raises(KeyError):
            text_of(response)

    @pytest.mark.parametrize(
        ("reason", "truncated"), [("max_tokens", True), ("incomplete", True), ("end_turn", False), (None, False)]
    )
    def test_assessment_sees_a_truncated_answer(self, reason, truncated):
        assert truncated == is_truncated({"stopReason": reason})

    def test_ocr_stores_the_blocks_or_else_the_whole_answer(self):
        """An added top-level member would land in the customer's bucket: hence P9."""
        blocks = {"Blocks": [{"BlockType": "PAGE"}]}
        assert blocks == raw_text({**message({"text": "a"}), "textractBlocks": blocks})
        assert message({"text": "a"}) == raw_text(message({"text": "a"}))

    @pytest.mark.parametrize(
        "text", ['{"class": "a"}', 'So:\n```json\n{"class": "a"}\n```', 'It is {"class": "a"}, I think']
    )
    def test_json_is_found_bare_fenced_and_in_prose(self, text):
        assert json_of(text) == {"class": "a"}

    def test_text_without_json_is_refused(self):
        with pytest.raises(ValueError, match="no JSON"):
            json_of("unclassified {")

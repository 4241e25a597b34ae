"""functions/bedrock: Converse and InvokeModel as a LambdaHook backend, against a server that speaks their wire format."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from aws_backends import CANARY, ENVIRONMENT, Bucket, Clients, Left, Recorder, denied, event, image
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    IncompleteReadError,
    ParamValidationError,
    ReadTimeoutError,
)
from scripted_service import load_function
from urllib3.exceptions import IncompleteRead

from hookcache_ops.backends.converse_server import ConverseServer
from hookcache_ops.backends.serving import Reply

MODEL = "us.amazon.nova-pro-v1:0"
app = load_function("bedrock", TARGET_MODEL_ID=MODEL, **ENVIRONMENT)
errors = app.module_backend_errors
GOOD = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Read."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7},
}


OWN_BODY = {
    "BEDROCK_API": "invoke",
    "INVOKE_SHAPE": "template",
    "BODY_TEMPLATE": '{"p": "$PROMPT"}',
    "ANSWER_PATHS": "text=a",
}


def function(clients: Any, **environment: str) -> Any:
    return app.BedrockFunction({"TARGET_MODEL_ID": MODEL, **environment}, clients)


def sent(given: dict[str, Any], **environment: str) -> dict[str, Any]:
    """What Converse is asked for an event."""
    client = Recorder(GOOD)
    function(client, **environment)(given, Left())
    ((operation, parameters),) = client.asked
    assert operation == "converse"
    return parameters


def refused(code: str, status: int) -> ClientError:
    """What boto3 raises where S3 does not give an object."""
    told = {"Error": {"Code": code, "Message": CANARY}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(told, "GetObject")


def answered(reply: dict[str, Any], **environment: str) -> dict[str, Any]:
    answer: dict[str, Any] = function(Recorder(reply), **environment)(event(), Left())
    return answer


@pytest.fixture(scope="module")
def service() -> Any:
    with ConverseServer() as server:
        yield server


class TestRequest:
    def test_counts_are_whole_numbers(self, server):
        """boto3 refuses maxTokens 4096.0 before it asks; the control is a fraction, which is left for it to refuse."""
        asked = event(temperature=0.0, maxTokens=4096.0)
        function(Clients(server.url))(asked, Left())
        assert server.requests[-1].json()["inferenceConfig"]["maxTokens"] == 4096
        with pytest.raises(errors.BadRequestError):
            function(Clients(server.url))(event(temperature=0.0, maxTokens=4096.5), Left())

    def test_images_are_sent_as_bytes_in_their_place(self):
        """Issue D: an S3 address says nothing to a model; texts and images keep their order."""
        content = sent(event("before", image(), "after"))["messages"][0]["content"]
        assert content == [
            {"text": "before"},
            {"image": {"format": "jpeg", "source": {"bytes": b"JPEG"}}},
            {"text": "after"},
        ]

    def test_the_marks_become_cache_points(self):
        """Issue D: a prompt-cache point stands where the text carried `<<CACHEPOINT>>`, in system and messages."""
        request = sent(event("static<<CACHEPOINT>>changing", system=["You read. <<CACHEPOINT>>"]))
        point = {"cachePoint": {"type": "default"}}
        assert request["system"] == [{"text": "You read. "}, point]
        assert request["messages"][0]["content"] == [{"text": "static"}, point, {"text": "changing"}]

    @pytest.mark.parametrize(
        ("text", "points"), [("<<CACHEPOINT>>a", 0), ("a<<CACHEPOINT>> <<CACHEPOINT>>b", 1), ("<<CACHEPOINT>>", 0)]
    )
    def test_a_cache_point_that_marks_nothing_is_dropped(self, text, points):
        content = sent(event(text, "end"))["messages"][0]["content"]
        assert sum("cachePoint" in block for block in content) == points
        assert all(block.get("text", "x").strip() for block in content)

    def test_a_callers_own_cache_points_are_kept(self):
        """The host hands a caller's system list on untouched."""
        point = {"cachePoint": {"type": "default"}}
        given = {**event("x"), "system": [{"text": "You read."}, point]}
        assert sent(given)["system"] == given["system"]
        assert sent(given, CACHE_POINTS="off")["system"] == [{"text": "You read."}]

    def test_of_too_many_cache_points_the_last_stay(self):
        """Four are Bedrock's limit; the last ones cover the longest prefixes."""
        request = sent(event("<<CACHEPOINT>>".join("abcdef"), system=["s<<CACHEPOINT>>"]))
        assert request["system"] == [{"text": "s"}]
        kinds = ["".join(block) for block in request["messages"][0]["content"]]
        assert kinds == ["text", "text", *["cachePoint", "text"] * 4]

    def test_cache_points_can_be_switched_off(self):
        """For models without prompt caching, which refuse them; the marks still never reach the model."""
        request = sent(event("a<<CACHEPOINT>>b", system=["s<<CACHEPOINT>>"]), CACHE_POINTS="off")
        assert "CACHEPOINT" not in json.dumps(request, default=str)
        assert "cachePoint" not in json.dumps(request, default=str)

    @pytest.mark.parametrize(
        ("sampling", "numbers", "config"),
        [
            ("auto", {"temperature": 0, "topP": 0.1}, {"temperature": 0}),
            ("auto", {"temperature": 0.5, "topP": 0.1}, {"temperature": 0.5, "topP": 0.1}),
            ("temperature", {"temperature": 0.5, "topP": 0.1, "maxTokens": 9}, {"temperature": 0.5, "maxTokens": 9}),
            ("temperature", {"topP": 0.1}, {"topP": 0.1}),
            ("both", {"temperature": 0.0, "topP": 0.1}, {"temperature": 0.0, "topP": 0.1}),
            ("none", {"temperature": 0.0, "topP": 0.1, "maxTokens": 9}, {"maxTokens": 9}),
        ],
    )
    def test_numbers_are_sent_as_sampling_says(self, sampling, numbers, config):
        """The host sends temperature and topP together, and newer models refuse the pair."""
        assert sent(event(**numbers), SAMPLING=sampling)["inferenceConfig"] == config

    @pytest.mark.parametrize(
        ("model", "fields"),
        [
            ("eu.anthropic.claude-x", {"top_k": 5}),
            ("amazon.nova-lite-v1:0", {"inferenceConfig": {"topK": 5}}),
            ("meta.llama3", None),
        ],
    )
    def test_top_k_goes_where_the_family_takes_it(self, model, fields):
        """The host's sample drops it."""
        request = sent(event(temperature=0.5, topK=5), TARGET_MODEL_ID=model)
        assert request.get("additionalModelRequestFields") == fields
        assert request["modelId"] == model

    def test_what_the_event_does_not_say_is_not_sent(self):
        """An empty `system`, empty fields and numbers that are null: a service may refuse each of them."""
        given = {**event("x", temperature=0.5, topP=None, maxTokens=None), "system": [{"text": " "}]}
        assert sent(given) == {
            "modelId": MODEL,
            "messages": [{"role": "user", "content": [{"text": "x"}]}],
            "inferenceConfig": {"temperature": 0.5},
        }

    def test_who_said_what_is_kept(self):
        """The host sends one message; callers of one's own may send a conversation, and words to stop at."""
        given = event("Which year?", temperature=0.5, stopSequences=["END"])
        said = {"role": "assistant", "content": [{"text": "2024."}]}
        unsaid = {"content": [{"text": "And the month?"}]}
        request = sent({**given, "messages": [*given["messages"], said, unsaid]})
        assert request["messages"] == [*given["messages"], said, {"role": "user", **unsaid}]
        assert request["inferenceConfig"]["stopSequences"] == ["END"]

    def test_guardrail_and_fields_go_along(self):
        request = sent(event(), GUARDRAIL_ID="g1", GUARDRAIL_VERSION="2", MODEL_FIELDS='{"seed": 7}')
        assert request["guardrailConfig"] == {"guardrailIdentifier": "g1", "guardrailVersion": "2"}
        assert request["additionalModelRequestFields"] == {"seed": 7}

    def test_a_block_of_another_kind_is_refused_and_not_left_out(self):
        with pytest.raises(errors.BadRequestError, match="neither text nor image"):
            sent(event({"document": {"name": CANARY}}))

    @pytest.mark.parametrize("given", [{}, {"messages": []}, {"messages": "no"}])
    def test_an_event_without_messages_is_refused(self, given):
        with pytest.raises(errors.BadRequestError, match="no messages"):
            sent(given)


class TestImages:
    @pytest.mark.parametrize(
        ("objects", "told"), [({"page": denied()}, "AccessDenied"), ({"page": b""}, "empty")], ids=["denied", "empty"]
    )
    def test_an_image_that_s3_does_not_give_is_an_error(self, objects, told, server):
        """Issue D: never an answer without the image; the message names the right, and no address."""
        with pytest.raises(errors.NoImageError, match=told) as error:
            function(Clients(server.url, Bucket(**objects)))(event("Read.", image()), Left())
        assert CANARY not in str(error.value)
        assert not server.requests

    @pytest.mark.parametrize(
        ("trouble", "family"),
        [
            (refused("SlowDown", 503), "Failed"),
            (refused("RequestLimitExceeded", 429), "Failed"),
            (
                refused("InternalError", 500),
                "Failed",
            ),
            (
                refused("KMS.ThrottlingException", 400),
                "Failed",
            ),
            (EndpointConnectionError(endpoint_url=CANARY), "Failed"),
            (IncompleteReadError(actual_bytes=1, expected_bytes=2), "Failed"),
            (refused("NoSuchKey", 404), "NoImage"),
            (ParamValidationError(report=CANARY), "NoImage"),
        ],
        ids=[
            "busy",
            "asked too often",
            "failing",
            "KMS is busy",
            "out of reach",
            "broke off",
            "control: gone",
            "control: no bucket's name",
        ],
    )
    def test_what_s3_may_give_later_is_no_missing_image(self, trouble, family, server):
        """`negative_errors` may name NoImageError, as docs/backends.md says: a moment's trouble must not be held back by it."""
        kinds = {"Failed": errors.ServiceFailedError, "NoImage": errors.NoImageError}
        with pytest.raises(errors.BackendError) as error:
            function(Clients(server.url, Bucket(page=trouble)))(event("Read.", image()), Left())
        assert type(error.value) is kinds[family]
        assert CANARY not in str(error.value)
        assert not server.requests

    @pytest.mark.parametrize(
        ("uri", "form"),
        [
            ("s3:///page", "jpeg"),
            ("s3://working/", "jpeg"),
            ("s3://working///", "jpeg"),
            ("https://working/page", "jpeg"),
            ("s3://working/page", "tiff"),
            ("s3://working/page", "jpg"),
        ],
    )
    def test_what_names_no_image_of_a_known_kind_is_none(self, uri, form):
        block = {"image": {"format": form, "source": {"s3Location": {"uri": uri}}}}
        with pytest.raises(errors.NoImageError):
            sent(event("Read.", block))

    @pytest.mark.parametrize("form", ["jpeg", "png", "gif", "webp"])
    @pytest.mark.parametrize("uri", ["s3://working/page", "S3://working/folder/page"])
    def test_every_kind_that_the_host_names_is_sent_under_its_name(self, uri, form):
        """Contract 1.3. Control of the test above."""
        block = {"image": {"format": form, "source": {"s3Location": {"uri": uri}}}}
        assert sent(event(block))["messages"][0]["content"][0]["image"]["format"] == form

    @pytest.mark.parametrize("owner", [{}, {"bucketOwner": "123456789012"}], ids=["none", "named"])
    def test_a_bucket_owner_in_the_event_is_demanded_of_s3(self, owner):
        """T8: a bucket that changed hands gives no page."""
        bucket, page = Recorder({"Body": io.BytesIO(b"JPEG")}), image()
        page["image"]["source"]["s3Location"] |= owner
        clients = {"s3": bucket}
        app.BedrockFunction({"TARGET_MODEL_ID": MODEL}, lambda kind, **told: clients.get(kind, Recorder(GOOD)))(
            event("Read.", page), Left()
        )
        ((_, asked),) = bucket.asked

        assert asked.get("ExpectedBucketOwner") == owner.get("bucketOwner")

    @pytest.mark.parametrize("name", ["page#2", "page?2", "page%20"])
    def test_the_object_that_was_named_is_read_and_no_other(self, name):
        """P4, B13: a wrapper digests the object of this very key; `#` and `?` are letters of it, and no parts of a URL."""
        recorder = Recorder(GOOD)
        clients = {"s3": Bucket(**{name: b"named", "page": b"another"})}
        app.BedrockFunction({"TARGET_MODEL_ID": MODEL}, lambda kind, **told: clients.get(kind, recorder))(
            event("Read.", image(name)), Left()
        )
        (_, request) = recorder.asked[0]

        assert request["messages"][0]["content"][1]["image"]["source"] == {"bytes": b"named"}


class TestAnswer:
    def test_stop_reason_and_every_count_are_kept(self):
        """Issue D: the host's sample drops the stop reason and the prompt cache's tokens."""
        counts = {"inputTokens": 5, "outputTokens": 2, "totalTokens": 47, "cacheReadInputTokens": 40}
        reply = {**GOOD, "stopReason": "max_tokens", "usage": {**counts, "cacheDetails": [{"ttl": "5m"}]}}
        answer = answered({**reply, "metrics": {"latencyMs": 9}, "trace": {"guardrail": CANARY}})
        assert answer == {"output": GOOD["output"], "stopReason": "max_tokens", "usage": counts}

    def test_reasoning_in_bytes_is_left_out(self):
        """JSON has no form for it, and the runtime would fail on it."""
        content = [{"reasoningContent": {"redactedContent": b"\xff"}}, {"text": "Read."}]
        reply = {**GOOD, "output": {"message": {"role": "assistant", "content": content}}}
        assert answered(reply)["output"]["message"]["content"] == [{"text": "Read."}]

    @pytest.mark.parametrize(
        "reply",
        [
            {},
            {"output": {}},
            {**GOOD, "stopReason": None},
            {**GOOD, "stopReason": ""},
            {**GOOD, "stopReason": 1},
            {**GOOD, "output": {"message": {"content": "x"}}},
        ],
        ids=["nothing", "no message", "no stop reason", "an empty one", "a number for one", "no list"],
    )
    def test_what_is_no_answer_raises(self, reply):
        """botocore makes a reply without members of one that was cut: it must not pass for an empty page."""
        with pytest.raises(errors.BadAnswerError, match="cut"):
            answered(reply)

    def test_a_blank_page_is_a_text_that_is_empty(self):
        """Contract 3: the host joins the blocks' texts; no block at all would be an error in its log."""
        for stop in ("end_turn", "stop_sequence"):
            reply = {**GOOD, "stopReason": stop, "output": {"message": {"role": "assistant", "content": []}}}
            message = {"role": "assistant", "content": [{"text": ""}]}
            assert answered(reply, BLANK_PAGES="on")["output"] == {"message": message}

    @pytest.mark.parametrize("content", [[], [{"text": " \n"}, {"text": ""}], [{"reasoningContent": {}}]])
    def test_an_empty_text_raises_unless_blank_pages_are_expected(self, content):
        reply = {**GOOD, "output": {"message": {"role": "assistant", "content": content}}}
        with pytest.raises(errors.BadAnswerError, match="BLANK_PAGES"):
            answered(reply)
        answer = answered(reply, BLANK_PAGES="on")
        assert "".join(block.get("text", "") for block in answer["output"]["message"]["content"]).strip() == ""
        with pytest.raises(errors.BadAnswerError, match="max_tokens"):
            answered({**reply, "stopReason": "max_tokens"}, BLANK_PAGES="on")


class TestWire:
    """Against the server, over a real socket."""

    def test_a_prompt_is_answered(self, server):
        answer = function(Clients(server.url))(event("Account: 12345\nAnswer with JSON only."), Left())
        assert json.loads(answer["output"]["message"]["content"][0]["text"]) == {"Account": "12345"}
        assert answer["stopReason"] == "end_turn"
        assert server.requests[-1].parts == ("model", MODEL, "converse")

    def test_a_repeated_prefix_is_read_from_the_prompt_cache(self, server):
        """Cache tokens come back as they are counted: written once, then read."""
        asked = event(f"{'static words ' * 50}<<CACHEPOINT>>once")
        first = function(Clients(server.url))(asked, Left())["usage"]
        again = function(Clients(server.url))(asked, Left())["usage"]
        assert first["cacheWriteInputTokens"] > 0
        assert first["cacheReadInputTokens"] == 0
        assert again["cacheReadInputTokens"] == first["cacheWriteInputTokens"]

    @pytest.mark.parametrize(
        ("how", "family", "name"),
        [
            ("throttle", "ServiceThrottledError", "ThrottlingException"),
            ("not_ready", "ServiceThrottledError", "ModelNotReadyException"),
            ("server_error", "ServiceFailedError", "InternalServerException"),
            ("unavailable", "ServiceFailedError", "ServiceUnavailableException"),
            ("timeout", "OutOfTimeError", "ModelTimeoutException"),
            ("denied", "ServiceRefusedError", "AccessDeniedException"),
            ("cut", "BadAnswerError", "BadAnswerError"),
            ("malformed", "BadAnswerError", "BadAnswerError"),
            ("empty", "BadAnswerError", "BadAnswerError"),
        ],
    )
    def test_every_misfortune_has_a_type(self, server, how, family, name):
        """Issue D: the class that leaves bears Bedrock's own name, so that `errorType` says ThrottlingException."""
        server.misbehave(how)
        calls = server.calls
        with pytest.raises(getattr(errors, family)) as error:
            function(Clients(server.url))(event(), Left())
        assert type(error.value).__name__ == name
        assert CANARY not in str(error.value)
        assert ":" in str(error.value)
        assert server.calls == calls + 1  # one attempt

    @pytest.mark.parametrize(
        ("status", "family"), [(None, "Failed"), (500, "Failed"), (503, "Failed"), (429, "Throttled"), (400, "Refused")]
    )
    def test_an_error_of_the_model_behind_is_told_by_its_own_status(self, server, status, family):
        """Bedrock's ModelErrorException is a 424 always; a model that failed has not refused the request."""
        told = {"message": CANARY} | ({} if status is None else {"originalStatusCode": status})
        server.misbehave(Reply.of_json(told, 424, {"x-amzn-ErrorType": "ModelErrorException"}))
        with pytest.raises(getattr(errors, f"Service{family}Error"), match=str(status or "ModelError")) as error:
            function(Clients(server.url))(event(), Left())
        assert type(error.value).__name__ == "ModelErrorException"
        assert CANARY not in str(error.value)

    @pytest.mark.parametrize(
        "name", ["ServiceQuotaExceededException", "TooManyRequestsException", "ThrottlingException"]
    )
    def test_a_limit_is_a_throttle_whatever_its_status(self, server, name):
        """`negative_errors` may name refusals; a quota that is used up comes back."""
        server.misbehave(Reply.of_json({"message": CANARY}, 400, {"x-amzn-ErrorType": name}))
        with pytest.raises(errors.ServiceThrottledError) as error:
            function(Clients(server.url))(event(), Left())
        assert type(error.value).__name__ == name

    def test_the_services_prose_has_an_end(self, server):
        """ERROR_DETAIL=full: up to 300 characters, as docs/backends.md says."""
        told = {"message": "x" * 299 + "yz"}
        server.misbehave(Reply.of_json(told, 400, {"x-amzn-ErrorType": "ValidationException"}))
        with pytest.raises(errors.ServiceRefusedError, match=r"xy\): check") as error:
            function(Clients(server.url), ERROR_DETAIL="full")(event(), Left())
        assert "z)" not in str(error.value)

    def test_a_refusal_says_why_only_where_that_was_asked_for(self, server):
        """P36: Bedrock's words may quote the request."""
        server.misbehave("denied", "denied")
        with pytest.raises(errors.ServiceRefusedError) as terse:
            function(Clients(server.url))(event(), Left())
        with pytest.raises(errors.ServiceRefusedError) as wordy:
            function(Clients(server.url), ERROR_DETAIL="full")(event(), Left())
        assert "don't have access" not in str(terse.value)
        assert "don't have access" in str(wordy.value)

    @pytest.mark.parametrize(("timeout", "left"), [("1", 300), ("240", 2.3)], ids=["the call's", "the invocation's"])
    def test_a_slow_model_ends_in_time(self, server, timeout, left):
        """The wait ends at REQUEST_TIMEOUT or below the invocation's end, whichever comes first."""
        server.misbehave("slow")
        with pytest.raises(errors.OutOfTimeError, match="REQUEST_TIMEOUT"):
            function(Clients(server.url), REQUEST_TIMEOUT=timeout)(event(), Left(left))

    @pytest.mark.parametrize(
        ("trouble", "family"),
        [
            (ReadTimeoutError(endpoint_url=CANARY), "OutOfTimeError"),
            (IncompleteRead(1, 2), "ServiceFailedError"),
            (ConnectionResetError(CANARY), "ServiceFailedError"),
        ],
        ids=["silent", "broke off", "reset"],
    )
    def test_trouble_on_the_way_is_told_by_its_kind(self, trouble, family):
        """P36: the SDK lets some of urllib3's errors and the system's through; their texts may name what was asked for."""
        with pytest.raises(getattr(errors, family)) as error:
            function(Recorder(trouble))(event(), Left())
        assert CANARY not in str(error.value)

    def test_without_time_left_nothing_is_sent(self):
        client = Recorder(GOOD)
        with pytest.raises(errors.OutOfTimeError, match="no time is left"):
            function(client)(event(), Left(1.9))
        assert client.asked == []

    def test_a_request_that_the_sdk_does_not_take_is_a_bad_request(self, server):
        """A limit as a text, as an odd configuration gives it; the SDK's own words quote the whole value."""
        with pytest.raises(errors.BadRequestError, match="numbers") as error:
            function(Clients(server.url))(event(temperature=0.0, maxTokens=CANARY), Left())
        assert CANARY not in str(error.value)

    def test_a_service_that_is_not_there_is_a_failure(self):
        with pytest.raises(errors.ServiceFailedError, match="EndpointConnectionError"):
            function(Clients("http://127.0.0.1:1"))(event(), Left())

    def test_the_sdk_tries_once_and_its_timeout_is_the_setting(self, server):
        clients = Clients(server.url)
        function(clients, REQUEST_TIMEOUT="77")
        assert clients.configs["bedrock-runtime"].read_timeout == 77
        assert clients.configs["bedrock-runtime"].retries["total_max_attempts"] == 1
        assert clients.configs["s3"].retries["total_max_attempts"] == 2  # reading costs nothing
        function(clients)
        assert clients.configs["bedrock-runtime"].read_timeout == 240


COUNTS = {"temperature": 0.5, "topK": 5.0, "maxTokens": 4096.0}
"""As the host passes on what a configuration may hold: counts with a point."""


class TestInvoke:
    @pytest.mark.parametrize(
        "shape",
        [{}, {"INVOKE_SHAPE": "template", "BODY_TEMPLATE": '{"p": "$PROMPT", "k": "$TOP_K", "m": "$MAX_TOKENS"}'}],
        ids=["anthropic", "template"],
    )
    def test_counts_are_whole_numbers(self, shape):
        """A service that wants an integer refuses 4096.0; equal in Python, so the spelling is looked at."""
        client = Recorder({"body": io.BytesIO(b'{"content": [{"text": "x"}], "stop_reason": "end_turn", "a": "x"}')})
        function(client, BEDROCK_API="invoke", ANSWER_PATHS="text=a" if shape else "", **shape)(event(**COUNTS), Left())
        body = client.asked[0][1]["body"]
        assert b"4096.0" not in body
        assert b"4096" in body
        assert b"5.0" not in body

    def test_anthropic_body_and_answer(self, server):
        """InvokeModel's own body: cache points as members of the block before, counts under Converse's names."""
        asked = event(f"{'static words ' * 50}<<CACHEPOINT>>Name: Ann. Answer in JSON.", system=["You read."])
        answer = function(Clients(server.url), BEDROCK_API="invoke")(asked, Left())
        body = server.requests[-1].json()
        assert server.requests[-1].parts == ("model", MODEL, "invoke")
        assert body["max_tokens"] == 4096
        assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
        assert json.loads(answer["output"]["message"]["content"][0]["text"]) == {"Name": "Ann. Answer in JSON."}
        assert answer["stopReason"] == "end_turn"
        assert answer["usage"]["cacheWriteInputTokens"] > 0
        assert sum(answer["usage"].values()) == 2 * answer["usage"]["totalTokens"]

    def test_the_body_is_anthropics_to_the_letter(self):
        """Issue D: each number of the host under Anthropic's name, and the version without which Bedrock refuses it."""
        client = Recorder({"body": io.BytesIO(b'{"content": [{"text": "x"}], "stop_reason": "refusal"}')})
        asked = event("Read.", system=["You read."], temperature=0.5, topP=0.1, topK=5, maxTokens=9)
        answer = function(client, BEDROCK_API="invoke", MODEL_FIELDS='{"seed": 7, "top_p": null}')(asked, Left())
        assert json.loads(client.asked[0][1]["body"]) == {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Read."}]}],
            "system": [{"type": "text", "text": "You read."}],
            "temperature": 0.5,
            "top_k": 5,
            "seed": 7,
        }
        assert answer["stopReason"] == "content_filtered"

    def test_images_are_base64_with_their_media_type(self):
        client = Recorder({"body": io.BytesIO(b'{"content": [{"text": "x"}], "stop_reason": "max_tokens"}')})
        answer = function(client, BEDROCK_API="invoke")(event("Read.", image(form="png")), Left())
        body = json.loads(client.asked[0][1]["body"])
        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"JPEG").decode()}
        assert body["messages"][0]["content"][1] == {"type": "image", "source": source}
        assert answer["stopReason"] == "max_tokens"

    def test_a_guardrail_that_blocked_the_prompt_is_told_as_such(self):
        """No model was asked, so the body has neither stop reason nor usage; an error would be asked for eight times."""
        body = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Not that."}]}
        told = {**body, "amazon-bedrock-guardrailAction": "INTERVENED", "amazon-bedrock-trace": {"guardrail": CANARY}}
        client = Recorder({"body": io.BytesIO(json.dumps(told).encode())})
        answer = function(client, BEDROCK_API="invoke", GUARDRAIL_ID="g1", GUARDRAIL_VERSION="2")(event(), Left())
        named = {name: client.asked[0][1][name] for name in ("guardrailIdentifier", "guardrailVersion")}
        assert named == {"guardrailIdentifier": "g1", "guardrailVersion": "2"}
        message = {"role": "assistant", "content": [{"text": "Not that."}]}
        assert answer == {"output": {"message": message}, "stopReason": "guardrail_intervened"}

    def test_a_guardrail_shows_in_the_stop_reason(self, server):
        """InvokeModel hides it in the body behind a good stop reason: the wrapper would keep the guardrail's words."""
        server.misbehave("guardrail")
        answer = function(Clients(server.url), BEDROCK_API="invoke")(event(), Left())
        assert answer["stopReason"] == "guardrail_intervened"

    @pytest.mark.parametrize(
        ("how", "family"),
        [
            ("throttle", "ServiceThrottledError"),
            ("cut", "BackendError"),
            ("malformed", "BadAnswerError"),
            ("empty", "BadAnswerError"),
            (Reply.of_json({"completion": "x"}), "BadAnswerError"),
            (Reply(200, b"[" * 100_000), "BadAnswerError"),
        ],
        ids=["throttle", "cut", "malformed", "empty", "another shape", "too deep"],
    )
    def test_bad_answers_raise(self, server, how, family):
        server.misbehave(how)
        with pytest.raises(getattr(errors, family)):
            function(Clients(server.url), BEDROCK_API="invoke")(event(), Left())

    def test_chat_shape(self, server):
        told = {
            "choices": [{"message": {"content": "Read."}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 3},
        }
        server.misbehave(Reply.of_json(told))
        answer = function(Clients(server.url), BEDROCK_API="invoke", INVOKE_SHAPE="chat")(event("Hello"), Left())
        assert server.requests[-1].json() == {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
            "temperature": 0.0,
        }
        assert (answer["stopReason"], answer["usage"]["inputTokens"]) == ("max_tokens", 3)

    def test_a_blank_page_in_the_chat_shape(self, server):
        server.misbehave(Reply.of_json({"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}))
        made = function(Clients(server.url), BEDROCK_API="invoke", INVOKE_SHAPE="chat", BLANK_PAGES="on")
        assert made(event(), Left())["output"]["message"]["content"] == [{"text": ""}]

    def test_each_word_of_a_template_stands_for_its_own(self):
        """Several texts, several pages of several kinds, four numbers; what is laid over goes before the template's."""
        words = {"$SYSTEM": "s", "$USER": "u", "$PROMPT": "p", "$IMAGES": "i", "$IMAGE_URLS": "l"}
        words |= {"$TEMPERATURE": "t", "$TOP_P": "tp", "$TOP_K": "tk", "$MAX_TOKENS": "m"}
        template = {name: word for word, name in words.items()} | {"seed": 1, "gone": True}
        client = Recorder({"body": io.BytesIO(b'{"a": "x"}')})
        settings = {**OWN_BODY, "BODY_TEMPLATE": json.dumps(template), "MODEL_FIELDS": '{"seed": 2, "gone": null}'}
        asked = event("one", image(), "two", image(form="png"), system=["a", "b"], temperature=0.5, topP=0.1, topK=5)
        function(client, **settings)(asked, Left())
        data = base64.b64encode(b"JPEG").decode()
        assert json.loads(client.asked[0][1]["body"]) == {
            "s": "a\n\nb",
            "u": "one\n\ntwo",
            "p": "a\n\nb\n\none\n\ntwo",
            "i": [data, data],
            "l": [f"data:image/{kind};base64,{data}" for kind in ("jpeg", "png")],
            "t": 0.5,
            "tp": 0.1,
            "tk": 5,
            "seed": 2,
        }

    def test_what_the_request_has_nothing_for_is_left_out_of_a_template(self):
        """Some models refuse an empty `images`; an empty system text is another prompt than none."""
        client = Recorder({"body": io.BytesIO(b'{"a": "x"}')})
        template = '{"s": "$SYSTEM", "u": "$USER", "i": "$IMAGES", "l": [{"url": "$IMAGE_URLS"}, "$MAX_TOKENS"]}'
        function(client, **{**OWN_BODY, "BODY_TEMPLATE": template})(event("Read."), Left())
        assert json.loads(client.asked[0][1]["body"]) == {"u": "Read.", "l": [{}]}

    @pytest.mark.parametrize(
        ("told", "usage"),
        [({"n": [4]}, 4), ({"n": [2.5]}, 2.5), ({"n": [True]}, None), ({"n": ["4"]}, None), ({"n": []}, None)],
        ids=["a count", "a fraction", "true", "a text", "nothing"],
    )
    def test_a_unit_of_a_template_answer_is_a_number_or_is_left_out(self, told, usage):
        client = Recorder({"body": io.BytesIO(json.dumps({"a": "x", **told}).encode())})
        answer = function(client, **{**OWN_BODY, "ANSWER_PATHS": "text=a inputTokens=n.0"})(event(), Left())
        assert answer.get("usage") == (None if usage is None else {"inputTokens": usage})

    TEMPLATE = (
        '{"prompt": "$PROMPT", "max_gen_len": "$MAX_TOKENS", "images": "$IMAGES", "deep": [{"t": "$TEMPERATURE"}]}'
    )
    PATHS = "text=results.0.outputText stop=results.0.completionReason inputTokens=inputTextTokenCount"

    def test_a_template_makes_any_body(self, server):
        """For models whose shape nobody foresaw: words are replaced, members without a value left out."""
        reply = {"results": [{"outputText": "Read.", "completionReason": "FINISH"}], "inputTextTokenCount": 4}
        server.misbehave(Reply.of_json(reply))
        settings = {"BEDROCK_API": "invoke", "INVOKE_SHAPE": "template", "BODY_TEMPLATE": self.TEMPLATE}
        made = function(Clients(server.url, Bucket(page=b"J")), **settings, ANSWER_PATHS=self.PATHS)
        answer = made(event("Read.", image(), system=["S<<CACHEPOINT>>"]), Left())
        assert server.requests[-1].json() == {"prompt": "S\n\nRead.", "images": ["Sg=="], "deep": [{"t": 0.0}]}
        assert answer == {**GOOD, "usage": {"inputTokens": 4}}

    @pytest.mark.parametrize(
        ("reply", "told"),
        [
            ({}, "no text at"),
            ({"results": [{"outputText": " "}]}, "no text at"),
            ({"results": [{"outputText": "x"}]}, r"how its answer ended.*results\.0\.completionReason.*ANSWER_PATHS"),
        ],
    )
    def test_a_template_answer_that_lacks_something_raises(self, server, reply, told):
        server.misbehave(Reply.of_json(reply))
        settings = {"BEDROCK_API": "invoke", "INVOKE_SHAPE": "template", "BODY_TEMPLATE": self.TEMPLATE}
        with pytest.raises(errors.BadAnswerError, match=told):
            function(Clients(server.url), **settings, ANSWER_PATHS=self.PATHS)(event(), Left())

    @pytest.mark.parametrize(
        ("word", "stop"),
        [
            ("COMPLETE", "end_turn"),
            ("MAX_TOKENS", "max_tokens"),
            ("LENGTH", "max_tokens"),
            ("max_tokens", "max_tokens"),
            ("CONTENT_FILTERED", "content_filtered"),
            ("content_filter", "content_filtered"),
            ("STOP_SEQUENCE", "stop_sequence"),
            ("endoftext", "end_turn"),
            ("eos_token", "end_turn"),
            ("END_TURN", "end_turn"),
            ("ERROR_TOXIC", "ERROR_TOXIC"),
        ],
    )
    def test_how_a_template_answer_ended_is_told_in_converses_words(self, server, word, stop):
        """The host's Assessment asks in smaller batches where it reads `max_tokens`, in these letters; Cohere says MAX_TOKENS."""
        server.misbehave(Reply.of_json({"results": [{"outputText": "Read.", "completionReason": word}]}))
        settings = {"BEDROCK_API": "invoke", "INVOKE_SHAPE": "template", "BODY_TEMPLATE": self.TEMPLATE}
        answer = function(Clients(server.url), **settings, ANSWER_PATHS=self.PATHS)(event(), Left())
        assert answer["stopReason"] == stop

    def test_a_template_without_place_for_images_refuses_them(self, server):
        settings = {"BEDROCK_API": "invoke", "INVOKE_SHAPE": "template", "BODY_TEMPLATE": '{"p": "$PROMPT"}'}
        with pytest.raises(errors.BadRequestError, match="IMAGES"):
            function(Clients(server.url, Bucket(page=b"J")), **settings, ANSWER_PATHS="text=a")(event(image()), Left())

    @pytest.mark.parametrize(
        ("template", "refused_for"),
        [
            ('{"p": "$USER"}', "SYSTEM"),
            ('{"s": "$SYSTEM", "i": "$IMAGES"}', "USER"),
            ('{"s": "$SYSTEM", "p": "$USER"}', None),
            ('{"p": "$PROMPT", "u": "$USER"}', None),
            ('{"p": "$PROMPT"}', None),
            ('{"i": "$IMAGES"}', None),
        ],
        ids=[
            "no system",
            "no user",
            "control: apart",
            "control: user twice",
            "control: in one",
            "control: reads no text",
        ],
    )
    def test_a_template_without_place_for_some_texts_refuses_them(self, template, refused_for):
        """Nothing is left out in silence: a model that never saw its instructions answers, and the answer would be kept."""
        client = Recorder({"body": io.BytesIO(b'{"a": "Read."}')})
        settings = {"BEDROCK_API": "invoke", "INVOKE_SHAPE": "template", "ANSWER_PATHS": "text=a"}
        made = function(client, **settings, BODY_TEMPLATE=template)
        if refused_for is None:
            assert made(event("Read.", system=["You read."]), Left())["output"]
            return
        with pytest.raises(errors.BadRequestError, match=refused_for) as error:
            made(event("Read.", system=["You read."]), Left())
        assert "You read." not in str(error.value)
        assert client.asked == []


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"TARGET_MODEL_ID": ""}, "TARGET_MODEL_ID"),
        ({"GUARDRAIL_ID": "g"}, "GUARDRAIL_VERSION"),
        ({"GUARDRAIL_VERSION": "1"}, "GUARDRAIL_ID"),
        ({"BEDROCK_API": "chat"}, "BEDROCK_API"),
        ({"SAMPLING": "top_p"}, "SAMPLING"),
        ({"MODEL_FIELDS": "[]"}, "MODEL_FIELDS"),
        ({"REQUEST_TIMEOUT": "900"}, "REQUEST_TIMEOUT"),
        ({"INVOKE_MAX_TOKENS": "4096.5"}, "INVOKE_MAX_TOKENS"),
        ({"BEDROCK_API": "invoke", "INVOKE_SHAPE": "template"}, "BODY_TEMPLATE"),
        ({"BEDROCK_API": "invoke", "INVOKE_SHAPE": "template", "BODY_TEMPLATE": '{"p": "$PROMT"}'}, "PROMT"),
        ({"BEDROCK_API": "invoke", "INVOKE_SHAPE": "template", "BODY_TEMPLATE": '{"p": "$PROMPT"}'}, "ANSWER_PATHS"),
        ({**OWN_BODY, "BODY_TEMPLATE": '{"p": "Human: $PROMPT", "i": "$IMAGES"}'}, r"Human: \$PROMPT.*whole value"),
        ({**OWN_BODY, "BODY_TEMPLATE": '{"p": ["$USER", {"s": "<s>$SYSTEM</s>"}]}'}, r"<s>\$SYSTEM.*whole value"),
        ({**OWN_BODY, "ANSWER_PATHS": "text=a stop="}, "ANSWER_PATHS"),
        ({**OWN_BODY, "ANSWER_PATHS": "text=a..b"}, "ANSWER_PATHS"),
        ({**OWN_BODY, "ANSWER_PATHS": "text=a =b"}, "ANSWER_PATHS"),
    ],
)
def test_a_wrong_setting_stops_the_function_at_its_start(environment, named):
    """The message names the variable."""
    with pytest.raises(errors.SettingsError, match=named):
        function(Recorder(GOOD), **environment)


@pytest.mark.parametrize("told", [{"ResponseMetadata": {"HTTPStatusCode": 502}}, {}], ids=["502", "no status"])
def test_an_error_without_a_plain_name_keeps_its_family(told):
    """A status in place of a code, as of a proxy between us, is no class name; without one nobody refused the request."""
    error = ClientError({"Error": {"Code": "502"}, **told}, "Converse")
    with pytest.raises(errors.ServiceFailedError) as raised:
        function(Recorder(error))(event(), Left())
    assert type(raised.value).__name__ == "ServiceFailedError"

"""functions/sagemaker: JSON endpoints as a LambdaHook backend, against a server that speaks SageMaker's wire format."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from aws_backends import CANARY, ENVIRONMENT, Bucket, Clients, Left, Recorder, denied, event, image
from scripted_service import load_function

from hookcache_ops.backends.sagemaker_server import SageMakerServer
from hookcache_ops.backends.serving import Reply

NAME = "page-reader"
app = load_function("sagemaker", SAGEMAKER_ENDPOINT_NAME=NAME, **ENVIRONMENT)
errors = app.module_backend_errors
DATA = base64.b64encode(b"JPEG").decode()
URL = f"data:image/jpeg;base64,{DATA}"
JSON_PROMPT = "Account: 12345\nAnswer with JSON only."
TEXT = {"type": "text", "text": "Read."}
TEMPLATE = {"REQUEST_SHAPE": "template", "BODY_TEMPLATE": '{"inputs": "$PROMPT"}'}


def function(clients: Any, **environment: str) -> Any:
    return app.SageMakerFunction({"SAGEMAKER_ENDPOINT_NAME": NAME, **environment}, clients)


def body_of(given: dict[str, Any], **environment: str) -> dict[str, Any]:
    """The JSON that the endpoint is sent."""
    client = Recorder({"Body": io.BytesIO(b"{}")})
    with pytest.raises(errors.BackendError):
        function(client, **environment)(given, Left())
    ((operation, parameters),) = client.asked
    assert operation == "invoke_endpoint"
    body: dict[str, Any] = json.loads(parameters["Body"])
    return body


def text_of(answer: dict[str, Any]) -> str:
    text: str = answer["output"]["message"]["content"][0]["text"]
    return text


@pytest.fixture(scope="module")
def service() -> Any:
    with SageMakerServer() as server:
        yield server


class TestRequest:
    def test_chat_sends_images_as_data_urls(self):
        """Issue D: images are really sent; the host's sample drops them by default."""
        body = body_of(
            event("before", image(), "after<<CACHEPOINT>>", system=["You read."], temperature=0, maxTokens=9)
        )
        assert body == {
            "messages": [
                {"role": "system", "content": "You read."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "before"},
                        {"type": "image_url", "image_url": {"url": URL}},
                        {"type": "text", "text": "after"},
                    ],
                },
            ],
            "temperature": 0,
            "max_tokens": 9,
        }

    def test_counts_are_whole_numbers(self):
        """The host passes on what a configuration may hold; the containers refuse 9.0 tokens."""
        body = body_of(event("x", temperature=0.5, topK=5.0, maxTokens=9.0), REQUEST_SHAPE="generate")
        assert [int, int] == [type(body["parameters"][name]) for name in ("top_k", "max_new_tokens")]

    def test_generate_sends_images_in_the_prompt(self):
        """As Markdown with a data URL; temperature 0 is greedy, which these containers spell without a temperature."""
        given = event("before", image(), "after", system=["You read."], temperature=0.0, topP=0.1, maxTokens=9)
        assert body_of(given, REQUEST_SHAPE="generate") == {
            "inputs": f"You read.\n\nbefore\n\n![]({URL})\n\nafter",
            "parameters": {"return_full_text": False, "details": True, "do_sample": False, "max_new_tokens": 9},
        }

    @pytest.mark.parametrize(
        ("sampling", "sent"),
        [
            ({}, {"temperature": 0, "top_p": 0.1, "top_k": 5}),
            ({"SAMPLING": "auto"}, {"temperature": 0}),
            ({"SAMPLING": "none"}, {}),
        ],
        ids=["default", "auto", "none"],
    )
    def test_numbers_are_sent_as_sampling_says(self, sampling, sent):
        """All of them by default: containers take the pair that Bedrock's newer models refuse."""
        body = body_of(event("x", temperature=0, topP=0.1, topK=5), **sampling)
        assert {name: body[name] for name in body if name != "messages"} == sent

    def test_generate_sends_what_is_sampled_with(self):
        given = event("x", temperature=0.5, topP=0.9, topK=4)
        parameters = body_of(given, REQUEST_SHAPE="generate", MODEL_FIELDS='{"details": null, "seed": 1}')["parameters"]
        assert parameters == {"return_full_text": False, "temperature": 0.5, "top_p": 0.9, "top_k": 4, "seed": 1}

    def test_a_template_makes_any_other_body(self):
        template = '{"text_inputs": "$PROMPT", "pictures": "$IMAGE_URLS", "top_p": "$TOP_P"}'
        body = body_of(
            event("Read.", image()),
            REQUEST_SHAPE="template",
            BODY_TEMPLATE=template,
            ANSWER_PATHS="text=generated_text",
        )
        assert body == {"text_inputs": "Read.", "pictures": [URL]}

    def test_null_takes_a_member_out_of_a_template(self):
        """As with the other shapes; a null of the template's own stays, since the model may want it."""
        settings = {"REQUEST_SHAPE": "template", "ANSWER_PATHS": "text=generated_text"}
        template = '{"inputs": "$PROMPT", "details": true, "seed": null}'
        body = body_of(event("Read."), **settings, BODY_TEMPLATE=template, MODEL_FIELDS='{"details": null, "top_n": 1}')
        assert body == {"inputs": "Read.", "seed": None, "top_n": 1}

    def test_the_model_of_a_shared_endpoint_is_named(self, server):
        given = {"INFERENCE_COMPONENT": " reader-1 ", "TARGET_VARIANT": "blue", "MODEL_NAME": "qwen"}
        function(Clients(server.url), **given)(event(JSON_PROMPT), Left())
        headers = server.requests[-1].headers
        assert headers["x-amzn-sagemaker-inference-component"] == "reader-1"
        assert headers["x-amzn-sagemaker-target-variant"] == "blue"
        assert (headers["content-type"], headers["accept"]) == ("application/json", "application/json")
        assert server.requests[-1].json()["model"] == "qwen"

    @pytest.mark.parametrize("shape", ["chat", "generate"])
    @pytest.mark.parametrize("trouble", [denied(), b""], ids=["denied", "empty"])
    def test_an_image_that_s3_does_not_give_is_an_error(self, server, shape, trouble):
        """Issue D: the host's sample asks without the image, and the answer reads as if the page were different."""
        made = function(Clients(server.url, Bucket(page=trouble)), REQUEST_SHAPE=shape)
        with pytest.raises(errors.NoImageError) as error:
            made(event("Read.", image()), Left())
        assert CANARY not in str(error.value)
        assert not server.requests

    @pytest.mark.parametrize(
        ("shape", "sent"),
        [
            ({}, {"messages": [{"role": "system", "content": "You read."}, {"role": "user", "content": [TEXT]}]}),
            ({"REQUEST_SHAPE": "generate"}, {"inputs": "You read.\n\nRead."}),
            ({**TEMPLATE, "ANSWER_PATHS": "text=a"}, {"inputs": "You read.\n\nRead."}),
        ],
        ids=["chat", "generate", "template"],
    )
    def test_a_callers_own_cache_point_is_taken_out_as_the_mark_is(self, shape, sent):
        """The host hands a caller's system list on untouched; a cache point says nothing to a model."""
        point = {"cachePoint": {"type": "default"}}
        given = {**event("Read."), "system": [{"text": "You read."}, point], "inferenceConfig": {}}
        body = body_of(given, **shape)
        assert {name: body[name] for name in sent} == sent

    @pytest.mark.parametrize("given", [{}, {"messages": []}, {"messages": "no"}, {"messages": ["Read."]}])
    @pytest.mark.parametrize(
        "shape",
        [{"REQUEST_SHAPE": "chat"}, {"REQUEST_SHAPE": "generate"}, {**TEMPLATE, "ANSWER_PATHS": "text=generated_text"}],
        ids=["chat", "generate", "template"],
    )
    def test_an_event_without_messages_is_refused(self, shape, given):
        """A model that is asked nothing answers all the same: the text would be made up."""
        client = Recorder({"Body": io.BytesIO(b'{"generated_text": "Once upon a time"}')})
        with pytest.raises(errors.BadRequestError, match="no messages"):
            function(client, **shape)(given, Left())
        assert client.asked == []

    @pytest.mark.parametrize("shape", ["chat", "generate"])
    def test_a_block_of_another_kind_is_refused(self, shape):
        with pytest.raises(errors.BadRequestError, match="neither text nor image"):
            function(Recorder({}), REQUEST_SHAPE=shape)(event({"document": {}}), Left())


class TestWire:
    @pytest.mark.parametrize("shape", ["chat", "generate"])
    def test_a_prompt_is_answered(self, server, shape):
        """Text, stop reason and tokens, under Converse's names."""
        answer = function(Clients(server.url), REQUEST_SHAPE=shape)(event(JSON_PROMPT), Left())
        assert json.loads(text_of(answer)) == {"Account": "12345"}
        assert answer["stopReason"] == "end_turn"
        assert answer["usage"] == {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}
        assert server.requests[-1].parts == ("endpoints", NAME, "invocations")

    @pytest.mark.parametrize("shape", ["chat", "generate"])
    def test_a_cut_answer_says_so(self, server, shape):
        server.misbehave("max_tokens")
        answer = function(Clients(server.url), REQUEST_SHAPE=shape)(event(JSON_PROMPT), Left())
        assert answer["stopReason"] == "max_tokens"

    @pytest.mark.parametrize("shape", ["chat", "generate"])
    @pytest.mark.parametrize(
        ("how", "family", "name"),
        [
            ("throttle", "ServiceThrottledError", "ThrottlingException"),
            ("container_throttle", "ServiceThrottledError", "ThrottlingException"),
            ("loading", "ServiceThrottledError", "ModelNotReadyException"),
            ("server_error", "ServiceFailedError", "InternalFailure"),
            ("unavailable", "ServiceFailedError", "ServiceUnavailable"),
            ("container_error", "ServiceFailedError", "ModelError"),
            ("container_refusal", "ServiceRefusedError", "ModelError"),
            ("unknown", "ServiceRefusedError", "ValidationError"),
            ("denied", "ServiceRefusedError", "AccessDeniedException"),
            ("error_200", "ServiceFailedError", "ServiceFailedError"),
            ("empty", "BadAnswerError", "BadAnswerError"),
            ("malformed", "BadAnswerError", "BadAnswerError"),
        ],
    )
    def test_every_misfortune_has_a_type(self, server, shape, how, family, name):
        """Issue D: an odd body never becomes the text, an error never an empty answer."""
        server.misbehave(how)
        calls = server.calls
        with pytest.raises(getattr(errors, family)) as error:
            function(Clients(server.url), REQUEST_SHAPE=shape)(event(), Left())
        assert type(error.value).__name__ == name
        assert CANARY not in str(error.value)
        assert "container says" not in str(error.value)  # its words may quote the request
        assert server.calls == calls + 1

    def test_an_endpoint_that_wants_its_model_named_is_told_by_the_setting(self, server):
        """SageMaker says which header is missing in its prose alone, which is dropped (langchain-ai/langchain#16150)."""
        words = "Inference Component Name header is required for endpoints to which you plan to deploy inference components."
        server.misbehave(Reply.of_json({"message": words}, 400, {"x-amzn-ErrorType": "ValidationError"}))
        with pytest.raises(errors.ServiceRefusedError, match=r"INFERENCE_COMPONENT.*ERROR_DETAIL=full"):
            function(Clients(server.url))(event(), Left())

    @pytest.mark.parametrize("shape", ["chat", "generate"])
    def test_a_body_that_breaks_off_is_no_answer(self, server, shape):
        server.misbehave("cut")
        with pytest.raises((errors.ServiceFailedError, errors.BadAnswerError)):
            function(Clients(server.url), REQUEST_SHAPE=shape)(event(), Left())

    def test_a_slow_endpoint_ends_in_time(self, server):
        server.misbehave("slow")
        with pytest.raises(errors.OutOfTimeError, match="REQUEST_TIMEOUT"):
            function(Clients(server.url))(event(), Left(2.3))

    @pytest.mark.parametrize(
        "odd", [{"predictions": [1]}, [], {"generated_text": 7}, "text", None, {"choices": [{"message": {}}]}]
    )
    @pytest.mark.parametrize("shape", ["chat", "generate"])
    def test_a_body_of_another_shape_is_no_text(self, server, shape, odd):
        """The host's sample hands such a body on as the page's text."""
        server.misbehave(Reply.of_json(odd))
        with pytest.raises(errors.BadAnswerError):
            function(Clients(server.url), REQUEST_SHAPE=shape)(event(), Left())

    def test_a_body_that_is_too_deep_is_no_text(self, server):
        server.misbehave(Reply(200, b"[" * 100_000, {"Content-Type": "application/json"}))
        with pytest.raises(errors.BadAnswerError, match="no JSON"):
            function(Clients(server.url))(event(), Left())

    def test_a_text_without_details_has_no_stop_reason(self, server):
        """What the container does not say is not made up."""
        server.misbehave(Reply.of_json({"generated_text": "Read."}))
        answer = function(Clients(server.url), REQUEST_SHAPE="generate")(event(), Left())
        assert answer == {"output": {"message": {"role": "assistant", "content": [{"text": "Read."}]}}}

    @pytest.mark.parametrize(
        "told",
        [
            {"generated_text": "Account 1", "error": CANARY},
            {"generated_text": "Account 1", "error_type": "generation"},
            {"generated_text": "Account 1", "details": {"finish_reason": "error"}},
            [{"generated_text": "", "details": {"finish_reason": "error", "generated_tokens": None}}],
        ],
        ids=["beside the text", "by its type", "as its end", "in place of a text"],
    )
    def test_a_text_that_failed_half_way_is_no_answer(self, server, told):
        """As with chat; without a stop reason it would pass for a whole text and be kept."""
        server.misbehave(Reply.of_json(told))
        with pytest.raises(errors.ServiceFailedError, match="endpoint's log") as error:
            function(Clients(server.url), REQUEST_SHAPE="generate", BLANK_PAGES="on")(event(), Left())
        assert CANARY not in str(error.value)

    @pytest.mark.parametrize(
        ("details", "usage"),
        [
            ({"generated_tokens": 5, "input_tokens": 10}, {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}),
            ({"generated_tokens": 5, "prefill": [{}, {}]}, {"inputTokens": 2, "outputTokens": 5, "totalTokens": 7}),
            ({"generated_tokens": 5, "prefill": []}, {"outputTokens": 5, "totalTokens": 5}),
            ({"generated_tokens": 5, "prefill": "none"}, {"outputTokens": 5, "totalTokens": 5}),
            ({"generated_tokens": -1, "input_tokens": True}, None),
        ],
        ids=["both", "tokens of the prompt", "none listed", "no list", "no counts"],
    )
    def test_tokens_of_a_generated_text(self, server, details, usage):
        """P33: what is no count is left out; of a list the first text is the answer, as one was asked for."""
        told = {"generated_text": "Read.", "details": {**details, "finish_reason": "eos_token"}}
        server.misbehave(Reply.of_json([told, {"generated_text": "Another."}]))
        answer = function(Clients(server.url), REQUEST_SHAPE="generate")(event(), Left())
        assert (text_of(answer), answer["stopReason"], answer.get("usage")) == ("Read.", "end_turn", usage)

    def test_a_text_that_was_cut_before_it_began_is_no_blank_page(self, server):
        server.misbehave(Reply.of_json({"generated_text": " ", "details": {"finish_reason": "length"}}))
        with pytest.raises(errors.BadAnswerError, match="maxTokens"):
            function(Clients(server.url), REQUEST_SHAPE="generate", BLANK_PAGES="on")(event(), Left())

    def test_blank_pages_where_they_are_expected(self, server):
        server.misbehave("empty")
        answer = function(Clients(server.url), REQUEST_SHAPE="generate", BLANK_PAGES="on")(event(), Left())
        assert (text_of(answer), answer["stopReason"]) == ("", "end_turn")

    def test_blank_pages_of_a_template_where_they_are_expected(self, server):
        server.misbehave(Reply.of_json({"text": " ", "why": "stop"}))
        paths = {"ANSWER_PATHS": "text=text stop=why", "BLANK_PAGES": "on"}
        answer = function(Clients(server.url), **TEMPLATE, **paths)(event(), Left())
        assert (text_of(answer), answer["stopReason"]) == (" ", "end_turn")

    @pytest.mark.parametrize(
        ("why", "paths", "blank_pages"),
        [
            ("stop", "text=text stop=why", "off"),
            ("length", "text=text stop=why", "on"),
            ("stop", "text=text", "on"),
        ],
        ids=["not expected", "cut", "nobody says how it ended"],
    )
    def test_another_empty_text_of_a_template_is_an_error(self, server, why, paths, blank_pages):
        """Control of the test above."""
        server.misbehave(Reply.of_json({"text": " ", "why": why}))
        made = function(Clients(server.url), **TEMPLATE, ANSWER_PATHS=paths, BLANK_PAGES=blank_pages)
        with pytest.raises(errors.BadAnswerError, match="BLANK_PAGES"):
            made(event(), Left())


def test_the_sdk_waits_as_long_as_is_said():
    """Above the 60 s that SageMaker gives a model, and tried once: the host asks again by itself."""
    clients = Clients("http://127.0.0.1:1")
    function(clients)
    config = clients.configs["sagemaker-runtime"]
    assert (config.read_timeout, config.retries["total_max_attempts"]) == (70, 1)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"SAGEMAKER_ENDPOINT_NAME": " "}, "SAGEMAKER_ENDPOINT_NAME"),
        ({"REQUEST_SHAPE": "tgi"}, "REQUEST_SHAPE"),
        ({"REQUEST_SHAPE": "template"}, "BODY_TEMPLATE"),
        ({"REQUEST_TIMEOUT": "soon"}, "REQUEST_TIMEOUT"),
        ({"BLANK_PAGES": "yes"}, "BLANK_PAGES"),
    ],
)
def test_a_wrong_setting_stops_the_function_at_its_start(environment, named):
    with pytest.raises(errors.SettingsError, match=named):
        function(Recorder({}), **environment)

"""functions/triton: binary tensors as a LambdaHook backend, against a server that wrote the protocol down for itself."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from aws_backends import CANARY, ENVIRONMENT, Bucket, Clients, Left, Recorder, denied, event, image
from scripted_service import load_function

from hookcache_ops.backends.reading import Told
from hookcache_ops.backends.serving import Reply
from hookcache_ops.backends.triton import TritonServer
from hookcache_ops.backends.triton_wire import read_request, write_reply

NAME = "page-reader"
app = load_function("triton", SAGEMAKER_ENDPOINT_NAME=NAME, **ENVIRONMENT)
errors, tensors = app.module_backend_errors, app.module_tensors


def function(clients: Any, **environment: str) -> Any:
    return app.TritonFunction({"SAGEMAKER_ENDPOINT_NAME": NAME, **environment}, clients)


def asked(given: dict[str, Any], **environment: str) -> tuple[dict[str, Any], list[str]]:
    """The tensors that the endpoint is sent, read by the server's own codec."""
    client = Recorder({"Body": io.BytesIO(b""), "ContentType": "text/plain"})
    with pytest.raises(errors.BadAnswerError):
        function(client, **environment)(given, Left())
    ((operation, parameters),) = client.asked
    assert operation == "invoke_endpoint"
    return read_request(parameters["Body"], parameters["ContentType"])


@pytest.fixture(scope="module")
def service() -> Any:
    with TritonServer() as server:
        server.tell = lambda _texts, images: Told(f"page of {len(images[0])} bytes", 0, 0, 1)
        yield server


@pytest.fixture
def clients(server: Any) -> Clients:
    return Clients(server.url, Bucket(page=b"JPEG", other=b"JPEG 2"))


class TestRequest:
    @pytest.mark.parametrize(("batched", "shape"), [("on", (1, 1)), ("off", (1,))])
    def test_the_image_is_a_row_of_bytes(self, batched, shape):
        """Issue D: the image's own bytes as the input tensor, behind a header whose length the content type says."""
        inputs, wanted = asked(event("Read.", image()), TRITON_BATCHED=batched)
        assert (inputs["image"].rows, inputs["image"].shape) == ((b"JPEG",), shape)
        assert (list(inputs), wanted) == (["image"], ["text"])

    def test_every_page_is_a_row_and_the_prompt_beside_it(self):
        inputs, wanted = asked(
            event("Read.", image(), image(), system=["Ünlü"]), TRITON_PROMPT="prompt", TRITON_CONFIDENCE="sure"
        )
        assert inputs["image"].rows == (b"JPEG", b"JPEG")
        assert inputs["prompt"].rows == ("Ünlü\n\nRead.".encode(),) * 2
        assert wanted == ["text", "sure"]

    def test_a_path_is_sent_where_the_model_fetches_by_itself(self):
        inputs, _ = asked(event(image("x")), TRITON_INPUT="path", TRITON_INPUT_KIND="path")
        assert inputs["path"].rows == (f"s3://working/temp/lambdahook/{CANARY}/x".encode(),)

    @pytest.mark.parametrize("trouble", [denied(), b""], ids=["denied", "empty"])
    def test_an_image_that_s3_does_not_give_is_an_error(self, server, trouble):
        """Issue D: an S3 failure is an error and not an empty answer."""
        with pytest.raises(errors.NoImageError) as error:
            function(Clients(server.url, Bucket(page=trouble)))(event(image()), Left())
        assert CANARY not in str(error.value)
        assert not server.requests

    @pytest.mark.parametrize("kind", ["bytes", "path"])
    def test_an_image_without_address_is_an_error(self, kind):
        inline = {"image": {"format": "jpeg", "source": {"bytes": "b'\\xff'"}}}
        with pytest.raises(errors.NoImageError, match="S3 location"):
            function(Recorder({}), TRITON_INPUT_KIND=kind)(event(inline), Left())

    @pytest.mark.parametrize("prompt", ["", "prompt"], ids=["no place for texts", "with texts"])
    @pytest.mark.parametrize("block", [{"document": {"name": CANARY}}, {"image": CANARY}, CANARY], ids=str)
    def test_a_block_of_another_kind_is_refused_and_not_left_out(self, prompt, block):
        """Beside an image that can be read it was dropped: a page was missing from the answer without a word."""
        client = Recorder({})
        given = event("Read.", image())
        given["messages"][0]["content"].append(block)
        with pytest.raises(errors.BadRequestError, match="neither text nor image") as error:
            function(client, TRITON_PROMPT=prompt)(given, Left())
        assert CANARY not in str(error.value)
        assert client.asked == []

    def test_a_request_without_image_is_an_error(self):
        with pytest.raises(errors.NoImageError, match="DOCUMENT_IMAGE"):
            function(Recorder({}))(event("Read."), Left())


class TestWire:
    def test_pages_are_read(self, clients, server):
        """Text of all pages, pages counted, over a real socket with two codecs that know nothing of one another."""
        answer = function(clients, TRITON_CONFIDENCE="confidence", LEAST_CONFIDENCE="0.5")(
            event("Read.", image(), image("other")), Left()
        )
        assert answer["output"]["message"]["content"] == [{"text": "page of 4 bytes\n\npage of 6 bytes"}]
        assert answer["stopReason"] == "end_turn"
        assert answer["usage"] == {"pages": 2, "inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
        assert server.requests[-1].headers["content-type"].startswith("application/vnd.sagemaker-triton.binary+json;")
        assert server.requests[-1].headers["accept"] == "application/vnd.sagemaker-triton.binary+json"

    def test_pages_are_read_by_their_address(self, server, clients):
        server.s3 = clients.bucket
        settings = {"TRITON_INPUT": "path", "TRITON_INPUT_KIND": "path"}
        answer = function(Clients(server.url), **settings)(event(image()), Left())
        assert answer["output"]["message"]["content"] == [{"text": "page of 4 bytes"}]

    def test_a_reply_in_plain_json_is_read_as_well(self, clients, server):
        server.misbehave("json")
        assert function(clients)(event(image()), Left())["output"]["message"]["content"] == [
            {"text": "page of 4 bytes"}
        ]

    @pytest.mark.parametrize(
        ("how", "family", "name"),
        [
            ("throttle", "ServiceThrottledError", "ThrottlingException"),
            ("container_throttle", "ServiceThrottledError", "ThrottlingException"),
            ("server_error", "ServiceFailedError", "InternalFailure"),
            ("container_error", "ServiceFailedError", "ModelError"),
            ("denied", "ServiceRefusedError", "AccessDeniedException"),
            ("cut", "ServiceFailedError", "ServiceFailedError"),
            ("short", "BadAnswerError", "BadAnswerError"),
            ("fewer", "BadAnswerError", "BadAnswerError"),
            ("renamed", "BadAnswerError", "BadAnswerError"),
            ("unsure", "BadAnswerError", "BadAnswerError"),
            ("empty", "BadAnswerError", "BadAnswerError"),
            ("malformed", "BadAnswerError", "BadAnswerError"),
        ],
    )
    def test_every_misfortune_has_a_type(self, clients, server, how, family, name):
        server.misbehave(how)
        calls = server.calls
        with pytest.raises(getattr(errors, family)) as error:
            function(clients, TRITON_CONFIDENCE="confidence")(event(image(), image("other")), Left())
        assert type(error.value).__name__ == name
        assert CANARY not in str(error.value)
        assert server.calls == calls + 1

    def test_a_tensor_that_triton_does_not_know_is_refused_by_it(self, clients):
        with pytest.raises(errors.ServiceRefusedError, match="names of its tensors"):
            function(clients, TRITON_INPUT="picture")(event(image()), Left())

    def test_a_slow_model_ends_in_time(self, clients, server):
        server.misbehave("slow")
        with pytest.raises(errors.OutOfTimeError):
            function(clients)(event(image()), Left(2.3))

    def test_blank_pages_where_they_are_expected(self, clients, server):
        """With one page charged, so that a wrapper may keep it (P47)."""
        server.misbehave("empty")
        answer = function(clients, BLANK_PAGES="on")(event(image()), Left())
        assert (answer["output"]["message"]["content"], answer["usage"]["pages"]) == ([{"text": ""}], 1)


class TestReply:
    GOOD = write_reply([("text", (2, 1), "BYTES", [b"one", "zwö".encode()])])

    def test_rows_are_read(self):
        assert tensors.Tensors().pages(*self.GOOD, 2) == (["one", "zwö"], [])

    @pytest.mark.parametrize("spelt", [" {}", "{} "], ids=["before", "behind"])
    @pytest.mark.parametrize("sign", ["; json-header-size=", ";json-header-size = "], ids=["one", "two"])
    def test_blanks_in_the_content_type_say_nothing(self, spelt, sign):
        """RFC 9110 allows them around the semicolon; servers in between spell a header anew."""
        body, content_type = self.GOOD
        told = spelt.format(content_type.replace(";json-header-size=", sign))
        assert tensors.Tensors().pages(body, told, 2) == (["one", "zwö"], [])

    def test_every_cut_is_found(self):
        """The codec alone takes the last bytes' absence for the text's end, or fails with an error of its own."""
        body, content_type = self.GOOD
        for length in range(len(body)):
            with pytest.raises(errors.BadAnswerError):
                tensors.Tensors().pages(body[:length], content_type, 2)

    @pytest.mark.parametrize(
        "tensor",
        [
            ("text", (1,), "BYTES", ["zwö".encode()[:-1]]),
            ("text", (1,), "BYTES", ["zwö".encode("latin-1")]),
            ("text", (1,), "FP32", [0.93]),
        ],
        ids=["cut within a letter", "another encoding", "a number"],
    )
    def test_what_is_no_text_is_no_answer(self, tensor):
        """A limit of bytes cuts within a letter; what stands there instead would be kept as the page's text."""
        with pytest.raises(errors.BadAnswerError, match="cannot be read"):
            tensors.Tensors(batched=False).pages(*write_reply([tensor]), 1)

    def test_a_reply_in_plain_json_is_read(self):
        """Control of the number above: texts that come as JSON are texts."""
        told = {"model_name": "m", "outputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["zwö"]}]}
        body = json.dumps(told).encode()
        assert tensors.Tensors(batched=False).pages(body, "application/json", 1) == (["zwö"], [])

    def test_the_codec_alone_gives_less_than_was_sent(self):
        """Negative control: a confidence tensor that lost its last row is read without complaint by the library."""
        body, content_type = write_reply([("text", (1,), "BYTES", [b"one"]), ("more", (1,), "BYTES", [b"two"])])
        header = int(content_type.rpartition("=")[2])
        result = tensors.InferenceServerClient.parse_response_body(body[:-7], header_length=header)
        assert list(result.as_numpy("text")) == [b"one"]

    def test_a_row_that_says_it_is_longer_than_its_tensor_is_no_text(self):
        """Header and body agree, and within the tensor the row's own length does not: the codec's unpacking fails."""
        body, content_type = write_reply([("text", (1,), "BYTES", [b"page"])])
        assert body.endswith(b"\x04\x00\x00\x00page")
        longer = body[: -len(b"\x04\x00\x00\x00page")] + b"\x40\x00\x00\x00page"
        with pytest.raises(errors.BadAnswerError, match="cannot be read"):
            tensors.Tensors(batched=False).pages(longer, content_type, 1)

    @pytest.mark.parametrize(
        ("body", "content_type", "told"),
        [
            (b"<html>", "text/html", "in place of"),
            (b"{}", "application/json", "no header"),
            (b'{"outputs": 7}', "application/json", "no header"),
            (b'{"outputs": []}', "application/json", "no tensor"),
            (b'{"outputs": ["text"]}', "application/json", "no header"),
            (b'{"outputs": [{"name": "text", "parameters": 7}]}', "application/json", "no header"),
            (b'{"outputs": [{"parameters": {"binary_data_size": 1e999}}]}', "application/json", "no header"),
            (b"[" * 100_000, "application/json", "no header"),
            (*write_reply([("text", (1,), "BYTES", [b"x"])]), "1 rows"),
            (*write_reply([("text", (3, 1), "BYTES", [b"x", b"y", b"z"])]), "3 rows"),
            (GOOD[0] + b"more", GOOD[1], "it was cut"),
            (*write_reply([("text", (3, 1), "BYTES", [b"x", b"y"])]), "cannot be read"),
        ],
    )
    def test_what_is_no_reply_raises(self, body, content_type, told):
        with pytest.raises(errors.BadAnswerError, match=told):
            tensors.Tensors().pages(body, content_type, 2)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"SAGEMAKER_ENDPOINT_NAME": ""}, "SAGEMAKER_ENDPOINT_NAME"),
        ({"TRITON_INPUT_KIND": "url"}, "TRITON_INPUT_KIND"),
        ({"LEAST_CONFIDENCE": "2", "TRITON_CONFIDENCE": "sure"}, "LEAST_CONFIDENCE"),
        ({"LEAST_CONFIDENCE": "0.9"}, "TRITON_CONFIDENCE"),
        ({"TRITON_BATCHED": "1"}, "TRITON_BATCHED"),
    ],
)
def test_a_wrong_setting_stops_the_function_at_its_start(environment, named):
    with pytest.raises(errors.SettingsError, match=named):
        function(Recorder({}), **environment)


def test_a_service_error_of_another_form_is_an_error(server, clients):
    server.misbehave(Reply(502, b"<html>bad gateway</html>", {"Content-Type": "text/html"}))
    with pytest.raises(errors.ServiceFailedError, match="502"):
        function(clients)(event(image()), Left())

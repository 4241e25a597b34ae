"""Events that the host does not send: each backend refuses them by a type that `negative_errors` can name, and asks nobody."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from aws_backends import ENVIRONMENT, Clients, Left, Recorder, event, image
from scripted_service import load_function

from hookcache_ops.backends.converse_server import ConverseServer
from hookcache_ops.backends.serving import Reply

MODEL = {"TARGET_MODEL_ID": "us.amazon.nova-pro-v1:0"}
ENDPOINT = {"SAGEMAKER_ENDPOINT_NAME": "page-reader"}
SERVER = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_MODEL": "m", "MAX_RETRIES": "0"}
OWN_BODY = {"BODY_TEMPLATE": '{"p": "$PROMPT", "i": "$IMAGES"}', "ANSWER_PATHS": "text=a"}
KINDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "converse": ("bedrock", "BedrockFunction", MODEL),
    "anthropic": ("bedrock", "BedrockFunction", {**MODEL, "BEDROCK_API": "invoke"}),
    "chat": ("sagemaker", "SageMakerFunction", ENDPOINT),
    "generate": ("sagemaker", "SageMakerFunction", {**ENDPOINT, "REQUEST_SHAPE": "generate"}),
    "template": ("sagemaker", "SageMakerFunction", {**ENDPOINT, **OWN_BODY, "REQUEST_SHAPE": "template"}),
    "triton": ("triton", "TritonFunction", {**ENDPOINT, "TRITON_PROMPT": "prompt"}),
    "openai": ("openai", "OpenAiFunction", SERVER),
    "chandra": ("chandra", "ChandraFunction", {"CHANDRA_API_URL": "http://127.0.0.1:1", "MAX_RETRIES": "0"}),
}
ODD = (None, 1, "x", [1], ["x"], [None], [[]], {"a": 1}, True, [{"text": None}], [{"image": "x"}])
IMAGES_ALONE = {"triton", "chandra"}
PLACES: dict[str, tuple[Any, ...]] = {
    "event": (),
    "messages": ("messages",),
    "message": ("messages", 0),
    "content": ("messages", 0, "content"),
    "block": ("messages", 0, "content", 0),
    "text": ("messages", 0, "content", 0, "text"),
    "image": ("messages", 0, "content", 1, "image"),
    "source": ("messages", 0, "content", 1, "image", "source"),
    "location": ("messages", 0, "content", 1, "image", "source", "s3Location"),
    "uri": ("messages", 0, "content", 1, "image", "source", "s3Location", "uri"),
    "system": ("system",),
    "numbers": ("inferenceConfig",),
    "temperature": ("inferenceConfig", "temperature"),
}
SOUND = {
    ("text", "'x'"),
    ("system", "None"),
    ("numbers", "None"),
    ("numbers", "{'a': 1}"),
    ("temperature", "None"),
    ("temperature", "1"),
}
HALF = "s3://working/\ud83d"


def altered(place: tuple[Any, ...], value: Any) -> Any:
    """A good event with `value` at one place of it."""
    whole = {"event": event("Read.", image(), system=["You read."])}
    *way, last = ("event", *place)
    part: Any = whole
    for step in way:
        part = part[step]
    part[last] = deepcopy(value)
    return whole["event"]


@pytest.fixture(scope="module", params=KINDS)
def backend(request: Any) -> Any:
    """Kind, function, the client that notes what a service was asked, errors."""
    folder, name, settings = KINDS[request.param]
    app = load_function(folder, **ENVIRONMENT, **settings)
    client = Recorder({})
    return request.param, getattr(app, name)(settings, client), client, app.module_backend_errors


def is_unread(kind: str, place: str) -> bool:
    """Backends that read images alone have no use for the rest."""
    return kind in IMAGES_ALONE and (place in {"numbers", "temperature"} or (kind == "chandra" and place == "system"))


@pytest.mark.parametrize("place", PLACES)
def test_an_odd_event_is_refused_under_a_name_of_ours(backend, place):
    """A TypeError would be asked for eight times, whatever `negative_errors` lists; here nothing is asked even once."""
    kind, function, client, errors = backend
    refusals = (errors.BadRequestError, errors.NoImageError)
    for value in (value for value in ODD if (place, repr(value)) not in SOUND):
        client.asked.clear()
        with pytest.raises(errors.BackendError) as end:  # of what is read, before anything is asked: the reply is empty
            function(altered(PLACES[place], value), Left())
        assert isinstance(end.value, refusals) != is_unread(kind, place)
        assert client.asked == [] or is_unread(kind, place)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400, "0.5", True], ids=str)
@pytest.mark.parametrize("name", ["temperature", "topP", "topK", "maxTokens"])
def test_what_is_no_number_is_not_sent(backend, name, number):
    """JSON has no NaN, and the SDK fails at an integer that no float reaches. The host makes numbers of texts (contract 1.1)."""
    kind, function, _client, errors = backend
    with pytest.raises(errors.BackendError) as end:
        function(event(**{name: number}), Left())
    assert (f"{name} is no number" in str(end.value)) != (kind in IMAGES_ALONE)


def test_a_block_of_two_kinds_loses_neither(backend):
    """The text beside the image was left out in silence; null beside it, as some libraries write, says nothing."""
    kind, function, client, errors = backend
    client.asked.clear()
    for other in (image(), {"document": {}}, {"video": {}}, {"audio": {}}):
        with pytest.raises(errors.BadRequestError, match="two kinds"):
            function(event(image(), {**other, "text": "Read only the total."}), Left())
    assert client.asked == []
    with pytest.raises(errors.BackendError) as asked:
        function(event({**image(), "text": None}), Left())
    assert not isinstance(asked.value, errors.BadRequestError), kind


def test_half_a_character_in_a_prompt_does_not_stop_it(backend):
    """Contract 1.4: a prompt may hold one, which UTF-8 has no form for. What is asked is answered with nothing here."""
    kind, function, client, errors = backend
    client.asked.clear()
    with pytest.raises(errors.BackendError) as end:
        function(event("Total: \ud83d", image(), system=["You read \ud83d."]), Left())
    assert isinstance(end.value, errors.BadAnswerError | errors.ServiceFailedError), kind
    assert bool(client.asked) != (kind in {"openai", "chandra"})  # whose server cannot be reached


@pytest.mark.parametrize("blank", [" \n", "<<CACHEPOINT>>", ""])
def test_a_request_of_blanks_alone_asks_nobody(backend, blank):
    """Contract 1.2: a block may end up empty. Sent without it, a system's text or nothing would be answered, and kept."""
    kind, function, client, errors = backend
    client.asked.clear()
    # Where texts have no place the page is missing, and the remedy is the host's prompt.
    error, told = (
        ("NoImageError", "DOCUMENT_IMAGE") if kind in IMAGES_ALONE else ("BadRequestError", "messages are empty")
    )
    with pytest.raises(getattr(errors, error), match=told):
        function(event(blank, system=["You read."]), Left())
    assert client.asked == []
    with pytest.raises(errors.BackendError) as asked:  # control: with a page
        function(event(blank, image(), system=["You read."]), Left())
    assert not isinstance(asked.value, errors.BadRequestError), kind


@pytest.mark.parametrize("backend", ["converse", "anthropic"], indirect=True)
def test_the_order_of_blocks_refuses_none(backend):
    """What Bedrock's reader takes before a text, as after it, is not refused while blanks are looked for."""
    _kind, function, client, errors = backend
    mark, text = {"cachePoint": {"type": "default"}, "text": None}, {"text": "Read."}
    for blocks in ([mark, text], [text, mark]):
        client.asked.clear()
        with pytest.raises(errors.BadAnswerError):  # what is asked is answered with nothing here
            function(event(*blocks), Left())
        assert len(client.asked) == 1
    with pytest.raises(errors.BadRequestError, match="messages are empty"):  # control: it is a blank
        function(event(mark), Left())


@pytest.mark.parametrize(("member", "value"), [("uri", HALF), ("bucketOwner", HALF), ("bucketOwner", 1)])
def test_an_image_that_nobody_can_name_is_no_image(backend, member, value):
    """Half a character fits into no key and no header."""
    _kind, function, _client, errors = backend
    page = image()
    page["image"]["source"]["s3Location"][member] = value
    with pytest.raises(errors.NoImageError):
        function(event(page), Left())


@pytest.mark.parametrize(
    "reply", [{"output": []}, {"output": {"message": {"content": [1]}}}, {"usage": {"inputTokens": "x"}}]
)
def test_a_reply_of_another_shape_is_a_bad_answer(reply):
    """botocore's own parser fails at it, with an AttributeError, a TypeError or a ValueError."""
    app = load_function("bedrock", **ENVIRONMENT, **MODEL)

    class Odd(ConverseServer):
        def answer(self, request: Any) -> Reply:
            return Reply.of_json(reply)

    with Odd() as server, pytest.raises(app.module_backend_errors.BadAnswerError):
        app.BedrockFunction(MODEL, Clients(server.url))(event(), Left())

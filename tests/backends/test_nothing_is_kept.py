"""
The AWS backends behind the real hook: what fails leaves under its own type name and is kept nowhere, what is cut or filtered
goes to the host and is not kept, what is good is asked for once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aws_backends import ENVIRONMENT, Clients, Left, StuckBucket, event, image
from scripted_service import load_function, put_behind

from fakes import ocr_event
from hookcache_ops.backends.converse_server import ConverseServer
from hookcache_ops.backends.reading import Told
from hookcache_ops.backends.sagemaker_server import SageMakerServer
from hookcache_ops.backends.triton import TritonServer

MODEL = {"TARGET_MODEL_ID": "us.amazon.nova-pro-v1:0"}
ENDPOINT = {"SAGEMAKER_ENDPOINT_NAME": "page-reader"}
KINDS: dict[str, tuple[str, str, type, dict[str, str]]] = {
    "converse": ("bedrock", "BedrockFunction", ConverseServer, MODEL),
    "invoke": ("bedrock", "BedrockFunction", ConverseServer, {**MODEL, "BEDROCK_API": "invoke"}),
    "chat": ("sagemaker", "SageMakerFunction", SageMakerServer, ENDPOINT),
    "generate": ("sagemaker", "SageMakerFunction", SageMakerServer, {**ENDPOINT, "REQUEST_SHAPE": "generate"}),
    "triton": ("triton", "TritonFunction", TritonServer, ENDPOINT),
}
FAILURES = {
    "throttle": "ThrottlingException",
    "server_error": "",  # each service has a name of its own for it
    "cut": "",
    "empty": "BadAnswerError",
    "malformed": "BadAnswerError",
}
SPEAKING = ("converse", "invoke", "chat", "generate")


def with_kinds(*kinds: str) -> Any:
    """Every kind."""
    return pytest.mark.parametrize("kind", kinds)


@pytest.fixture
def chained(rig: Any) -> Any:
    """Puts a backend's function behind the rig's hook; what it raises reaches the hook as Lambda would report it."""
    servers: list[Any] = []

    def chain(kind: str) -> Any:
        folder, name, serve, settings = KINDS[kind]
        app = load_function(folder, **ENVIRONMENT, **settings)
        server = serve().__enter__()
        servers.append(server)
        server.tell = lambda _texts, images: Told(f"page of {len(images[0])} bytes", 40, 6, 1)
        function: Callable[..., Any] = getattr(app, name)(settings, Clients(server.url, rig.s3))

        put_behind(rig, lambda event, _: function(event, Left()), app.module_backend_errors.BackendError)
        return server

    yield chain
    for server in servers:
        server.__exit__(None, None, None)


@pytest.mark.parametrize("how", FAILURES)
@with_kinds(*KINDS)
def test_a_failure_is_raised_and_not_kept(rig, chained, kind, how):
    """P14, P17: typed, told once, and the next attempt reaches the backend."""
    server = chained(kind)
    server.misbehave(how)
    with pytest.raises(Exception) as error:
        rig.call(ocr_event(rig.image(b"page")))
    name = type(error.value).__name__
    assert name == (FAILURES[how] or name)
    assert rig.entries == []
    assert (rig.last["outcome"], rig.last["error_type"]) == ("failed", name)

    rig.call(ocr_event(rig.image(b"page")))
    assert (server.calls, rig.last["outcome"]) == (2, "miss")


@with_kinds(*KINDS)
def test_the_same_page_again_is_not_asked_for(rig, chained, kind):
    """Issue D: under a new name, with no call and no charge."""
    server = chained(kind)
    first = rig.call(ocr_event(rig.image(b"page")))
    again = rig.call(ocr_event(rig.image(b"page")))
    assert server.calls == 1
    assert first["output"] == again["output"]
    assert set(again["usage"].values()) == {0}
    assert set(again["usage"]) == set(first["usage"])


@with_kinds(*SPEAKING)
def test_a_cut_answer_goes_to_the_host_and_is_not_kept(rig, chained, kind):
    """P14: the host needs `max_tokens` to ask for less; kept, it would be told the half each time."""
    server = chained(kind)
    server.misbehave("max_tokens")
    answer = rig.call(ocr_event(rig.image(b"page")))
    assert answer["stopReason"] == "max_tokens"
    assert (rig.entries, rig.last["refusal"]) == ([], "truncated")


@with_kinds("converse", "invoke")
def test_a_guardrails_words_are_not_kept(rig, chained, kind):
    """P14: they reach the host as the guardrail's owner wants, and nobody else."""
    chained(kind).misbehave("guardrail")
    answer = rig.call(ocr_event(rig.image(b"page")))
    assert answer["stopReason"] == "guardrail_intervened"
    assert (rig.entries, rig.last["refusal"]) == ([], "stop_reason")


@with_kinds(*KINDS)
def test_an_image_that_the_backend_may_not_read_is_no_answer(rig, chained, kind):
    """Issue D: the page is gone between the wrapper's reading and the backend's; the service is not asked."""
    server = chained(kind)
    uri = rig.image(b"page")
    event, handler = ocr_event(uri), rig.backend.handler
    bucket, key = uri.removeprefix("s3://").split("/", 1)

    def gone(event: Any) -> Any:
        rig.s3.delete_object(Bucket=bucket, Key=key)
        return handler(event)

    rig.backend.handler = gone
    with pytest.raises(Exception, match="S3 did not give"):
        rig.call(event)
    assert (rig.entries, server.calls) == ([], 0)


@with_kinds(*KINDS)
def test_an_image_that_does_not_come_ends_in_time(kind):
    """Before Lambda ends the function without a word, and without the model being asked."""
    folder, name, serve, settings = KINDS[kind]
    app, bucket = load_function(folder, **ENVIRONMENT, **settings), StuckBucket()
    with serve() as server:
        function = getattr(app, name)(settings, Clients(server.url, bucket))
        with pytest.raises(app.module_backend_errors.OutOfTimeError, match="S3"):
            function(event("Read.", image()), Left(2.2))
        bucket.let_go.set()
        assert server.calls == 0

"""examples/stream/client.py against the function: what a person who runs it sees."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from stream_stage import Stage, event_of

from hookcache_ops.backends.converse_stream_server import Cut, Failed, text_events
from loaded import loaded

pytestmark = pytest.mark.xdist_group("stream")
EXAMPLE = Path(__file__).parents[2] / "examples" / "stream" / "client.py"
USAGE = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}


@pytest.fixture
def client(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, value in stage.aws.environment().items():
        monkeypatch.setenv(name, value)
    return loaded(EXAMPLE, "stream_client")


def prompt() -> str:
    text: str = event_of()["messages"][0]["content"][0]["text"]
    return text


def test_it_prints_the_words_and_says_that_they_are_all(
    client: ModuleType, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue D: a miss with its usage, a hit with zeros."""
    stage.model.tell(*text_events(["one ", "two"], USAGE))
    asked = prompt()
    statuses = [client.main(stage.url, asked), client.main(stage.url, asked)]
    printed = capsys.readouterr().out.splitlines()

    assert [0, 0] == statuses
    assert ["one two", "one two"] == printed[::2]
    assert [USAGE, dict.fromkeys(USAGE, 0)] == [json.loads(line.split(": ", 1)[1]) for line in printed[1::2]]


@pytest.mark.parametrize(
    ("ending", "said"), [(Failed("modelStreamErrorException"), "ModelStreamErrorException"), (Cut(), "ProtocolError")]
)
def test_it_does_not_take_half_an_answer_for_whole(
    client: ModuleType, stage: Stage, ending: Failed | Cut, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue D: exit status 1 and the reason."""
    stage.model.tell(*text_events(["one ", "two"], USAGE)[:2], ending)
    status = client.main(stage.url, prompt())

    assert 1 == status
    assert f"broke off: {said}" in capsys.readouterr().err


def test_it_says_why_it_was_refused(client: ModuleType, stage: Stage) -> None:
    """Issue D: a model that refuses before the first word is a 502, and no answer."""
    stage.model.misbehave("throttle")
    with pytest.raises(SystemExit, match="502"):
        client.main(stage.url, prompt())


def test_its_request_is_signed_for_the_function_url(client: ModuleType) -> None:
    """IAM authorisation: SigV4 for the service `lambda`."""
    headers = client.signed("https://x.lambda-url.us-east-1.on.aws/", b"{}")

    assert "/us-east-1/lambda/aws4_request" in headers["Authorization"]


@pytest.mark.parametrize(
    ("url", "unset", "said"),
    [
        ("nonsense", (), "no URL"),
        ("http://[::1", (), "no URL"),
        ("https://x/", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "no AWS credentials"),
        ("https://x/", ("AWS_DEFAULT_REGION",), "no region"),
    ],
    ids=["word", "half an address", "credentials", "region"],
)
def test_what_it_cannot_begin_with_is_one_line(
    client: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    url: str, unset: tuple[str, ...], said: str,
) -> None:  # fmt: skip
    """Exit status 2 and the remedy, no traceback; nothing is sent."""
    for name, value in {
        "CONFIG_FILE": "none",
        "SHARED_CREDENTIALS_FILE": "none",
        "EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    for name in unset:
        monkeypatch.delenv(name)
    status = client.main(url, "x")

    (line,) = capsys.readouterr().err.splitlines()
    assert (2, True) == (status, said in line)


def test_a_profile_that_is_not_there_is_named(
    client: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The SDK's own sentence."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    assert 2 == client.main("https://x/", "x")
    assert "(nobody) could not be found" in capsys.readouterr().err

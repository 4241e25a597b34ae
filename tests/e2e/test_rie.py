"""
AWS's own emulator of the runtime interface as referee of the local Lambda service: same handler, same events, same payloads.

It has no FunctionError header and answers a timeout in plain text: what is compared is what a function's caller gets as
payload.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from emulator import asked, emulated
from hookcache_ops.local.function import Function
from hookcache_ops.local.lambda_service import LambdaService

pytestmark = pytest.mark.prove
NAME, TIMEOUT_SECONDS = "GENAIIDP-refereed", 2
HANDLER = """
import os, time

class ThrottlingException(Exception):
    pass

def lambda_handler(event, context):
    if "raise" in event:
        raise {"LookupError": LookupError, "ThrottlingException": ThrottlingException}[event["raise"]](event["text"])
    if "sleep" in event:
        time.sleep(event["sleep"])
    if "answer" in event:
        return event["answer"]
    if "unserialisable" in event:
        return {1, 2}
    return {"event": event, "function": context.function_name, "version": context.function_version,
            "memory": context.memory_limit_in_mb, "handler": os.environ["_HANDLER"],
            "in time": 0 < context.get_remaining_time_in_millis() <= 2000}
"""
EVENTS: dict[str, dict[str, Any]] = {
    "object": {"a": 1, "b": [True, None, 1.5]},
    "text beyond ASCII": {"text": "Caf\u00e9 \U0001f600"},
    "null": {"answer": None},
    "list": {"answer": [1, 2]},
    "string": {"answer": "plain"},
    "large": {"answer": "x" * 1_000_000},
    "error": {"raise": "LookupError", "text": "the model is gone"},
    "own error type": {"raise": "ThrottlingException", "text": "Too many requests"},
    "answer that is no JSON": {"unserialisable": True},
}
FAILING = {"error", "own error type", "answer that is no JSON"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("code")
    (path / "app.py").write_text(HANDLER)
    return path


@pytest.fixture(scope="module")
def referee(folder: Path) -> Iterator[str]:
    """The emulator's address for invocations; it ends with the tests."""
    environ = {
        "PYTHONPATH": str(folder),
        "AWS_LAMBDA_FUNCTION_NAME": NAME,
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(TIMEOUT_SECONDS),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",  # since 3.12 the runtime writes text as UTF-8
    }
    with emulated(folder, (sys.executable, "-m", "awslambdaric", "app.lambda_handler"), environ) as url:
        yield url


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[LambdaService]:
    with LambdaService() as running:
        running.add(Function(NAME, folder, "app.lambda_handler", {}, TIMEOUT_SECONDS, 512))
        yield running


def invoked(service: LambdaService, event: Any) -> tuple[bytes, str | None]:
    client = boto3.client(
        "lambda",
        endpoint_url=service.endpoint,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}),
    )
    reply = client.invoke(FunctionName=NAME, Payload=json.dumps(event))
    return reply["Payload"].read(), reply.get("FunctionError")


@pytest.mark.parametrize("name", EVENTS)
def test_the_payload_is_the_emulators(name: str, referee: str, service: LambdaService) -> None:
    """Design 6: byte for byte, and for errors every member but the request id, which is each one's own."""
    theirs, (ours, error) = asked(referee, EVENTS[name]), invoked(service, EVENTS[name])

    if error is None:
        assert theirs == ours
    else:
        expected, actual = json.loads(theirs), json.loads(ours)
        assert {"errorMessage", "errorType", "requestId", "stackTrace"} == set(expected)
        assert expected | {"requestId": ""} == actual | {"requestId": ""}
        assert error == "Unhandled"
    assert (error is not None) == (name in FAILING)


def test_a_timeout_says_the_same(referee: str, service: LambdaService) -> None:
    """Contract 2.4: "Task timed out after 2.00 seconds" is in both; the next request is served by a new environment."""
    slow = {"sleep": 10}
    theirs, (ours, error) = asked(referee, slow).decode(), invoked(service, slow)

    assert theirs == f"Task timed out after {TIMEOUT_SECONDS:.2f} seconds"
    assert error == "Unhandled"
    assert theirs in json.loads(ours)["errorMessage"]
    assert asked(referee, EVENTS["list"]) == invoked(service, EVENTS["list"])[0]


def test_another_handler_is_noticed(referee: str, service: LambdaService) -> None:
    """Control: the comparison does not pass by itself."""
    assert asked(referee, {"answer": 1}) != invoked(service, {"answer": 2})[0]

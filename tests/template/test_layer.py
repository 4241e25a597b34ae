"""The built layer in a Lambda runtime: an existing function gets the cache by its handler setting alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from hookcache_ops.local.aws import LocalAws
from hookcache_ops.local.function import Function
from hookcache_ops.local.lambda_service import LambdaService

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("artifact")  # one worker builds, and builds once

NAME = "GENAIIDP-existing-hook"
HOOK = """
import sys

calls = 0

def lambda_handler(event, context):
    global calls
    calls += 1
    if "broken" in event["messages"][0]["content"][0]["text"]:
        raise LookupError("the model is gone")
    origin = getattr(sys.modules.get("hookcache"), "__file__", "no cache")
    text = f"call {calls}, cache from {origin}"
    return {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}}
"""


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    with LocalAws() as local:
        yield local


@pytest.fixture
def service(aws: LocalAws, native_layer: Path) -> Iterator[LambdaService]:
    """A Lambda service whose functions see the unpacked layer, as below /opt, instead of the sources."""
    with LambdaService(environment=aws.environment(), sources=(native_layer / "python",)) as running:
        yield running


def invoke(service: LambdaService, text: str) -> dict[str, Any]:
    client = boto3.client(
        "lambda",
        endpoint_url=service.endpoint,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    event = {
        "modelId": "LambdaHook",
        "messages": [{"role": "user", "content": [{"text": text}]}],
        "system": [{"text": "You summarise."}],
        "inferenceConfig": {"temperature": 0.0},
        "context": "Summarization",
    }
    answer: dict[str, Any] = json.loads(client.invoke(FunctionName=NAME, Payload=json.dumps(event))["Payload"].read())
    return answer


def outcomes(service: LambdaService) -> list[str]:
    return [json.loads(line)["outcome"] for line in service.logs(NAME) if line.startswith('{"_aws"')]


def test_the_layer_puts_the_cache_before_a_function_that_does_not_know_of_it(
    service: LambdaService, aws: LocalAws, native_layer: Path, tmp_path: Path
) -> None:
    """Issue C, P32: miss, hit in memory, hit in the table, and an error, with the runtime package from the layer."""
    (tmp_path / "index.py").write_text(HOOK)
    before = aws.settings() | {"HOOKCACHE_HANDLER": "index.lambda_handler"}
    service.add(Function(NAME, tmp_path, "hookcache.redirect.handler", before, 30, 512))

    first, second = invoke(service, "page"), invoke(service, "page")
    service.kill_environments(NAME)
    third, broken = invoke(service, "page"), invoke(service, "broken")

    told = first["output"]["message"]["content"][0]["text"]
    assert told == f"call 1, cache from {native_layer / 'python/hookcache/__init__.py'}"
    assert [first["output"]] * 2 == [second["output"], third["output"]]
    assert first["usage"] == {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}
    assert [dict.fromkeys(first["usage"], 0)] * 2 == [second["usage"], third["usage"]]
    assert (broken["errorType"], broken["errorMessage"]) == ("LookupError", "the model is gone")
    assert outcomes(service) == ["miss", "hit_memory", "hit_table", "failed"]


def test_without_the_handler_setting_the_layer_changes_nothing(service: LambdaService, tmp_path: Path) -> None:
    """Control: the same function with its own handler is called each time, and writes no receipt."""
    (tmp_path / "index.py").write_text(HOOK)
    service.add(Function(NAME, tmp_path, "index.lambda_handler", {}, 30, 512))

    answers = [invoke(service, "page")["output"]["message"]["content"][0]["text"] for _ in range(2)]

    assert answers == ["call 1, cache from no cache", "call 2, cache from no cache"]
    assert outcomes(service) == []

"""The built layer in a Lambda runtime: an existing function gets the cache by its handler setting alone."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from running import output_of

from hookcache_ops.local.aws import LocalAws
from hookcache_ops.local.function import Function
from hookcache_ops.local.lambda_service import LambdaService

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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

EVENT = {
    "modelId": "LambdaHook",
    "system": [{"text": "You summarise."}],
    "inferenceConfig": {"temperature": 0.0},
    "context": "Summarization",
}
ALONE = """
import importlib, json, pkgutil, sys
sys.path[:0] = sys.argv[1:]
import hookcache, pydantic, yaml
for module in pkgutil.walk_packages(hookcache.__path__, "hookcache."):
    importlib.import_module(module.name)
assert yaml.__with_libyaml__
from hookcache.redirect import handler
event = json.load(sys.stdin)
print(json.dumps([handler(event, None) for _ in range(2)]))
"""


@pytest.fixture(scope="module")
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
    reply = client.invoke(FunctionName=NAME, Payload=json.dumps(event_of(text)))
    answer: dict[str, Any] = json.loads(reply["Payload"].read())
    return answer


def event_of(text: str) -> dict[str, Any]:
    return EVENT | {"messages": [{"role": "user", "content": [{"text": text}]}]}


def outcomes(lines: Iterable[str]) -> list[str]:
    return [json.loads(line)["outcome"] for line in lines if line.startswith('{"_aws"')]


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
    assert outcomes(service.logs(NAME)) == ["miss", "hit_memory", "hit_table", "failed"]


def test_without_the_handler_setting_the_layer_changes_nothing(service: LambdaService, tmp_path: Path) -> None:
    """Control: the same function with its own handler is called each time, and writes no receipt."""
    (tmp_path / "index.py").write_text(HOOK)
    service.add(Function(NAME, tmp_path, "index.lambda_handler", {}, 30, 512))

    answers = [invoke(service, "page")["output"]["message"]["content"][0]["text"] for _ in range(2)]

    assert answers == ["call 1, cache from no cache", "call 2, cache from no cache"]
    assert outcomes(service.logs(NAME)) == []


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_layer_runs_on_each_python_that_it_serves(
    version: str, deployable: Path, transformed: dict[str, Any], aws: LocalAws, tmp_path: Path
) -> None:
    """
    Issue C: the host's samples run python3.12. The built layer, as it is, in that interpreter and nothing beside it: each
    module is imported, and of two environments the first misses and hits its memory, the second hits the table.
    """
    layers = [it for it in transformed["Resources"].values() if it["Type"] == "AWS::Lambda::LayerVersion"]
    assert [f"python{version}" in layer["Properties"]["CompatibleRuntimes"] for layer in layers] == [True, True]
    python = interpreter(version)
    if platform.machine() != "x86_64" or python is None:
        pytest.skip(f"the layer of x86_64 is run by a Python {version} of that processor, and there is none here")
    (tmp_path / "index.py").write_text(HOOK)
    own = {"PATH": os.defpath, "HOME": str(tmp_path), "HOOKCACHE_HANDLER": "index.lambda_handler"}
    found, answers = [], []
    for _ in range(2):
        *lines, told = output_of(
            *(python, "-I", "-S", "-c", ALONE, deployable / "LayerX86/python", tmp_path),
            env=aws.environment() | aws.settings() | own | {"HOOKCACHE_NAMESPACE": f"python{version}"},
            input=json.dumps(event_of("page")),
        ).splitlines()
        found.append(outcomes(lines))
        answers += [answer["output"]["message"]["content"] for answer in json.loads(told)]

    assert found == [["miss", "hit_memory"], ["hit_table", "hit_memory"]]
    assert answers == [[{"text": f"call 1, cache from {deployable / 'LayerX86/python/hookcache/__init__.py'}"}]] * 4


def interpreter(version: str) -> str | None:
    """A Python of that minor version; a pyenv shim may exist and not work, so each is asked."""
    pyenv = sorted((Path.home() / ".pyenv/versions").glob(f"{version}*/bin/python"))
    for candidate in (shutil.which(f"python{version}"), *map(str, pyenv)):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None

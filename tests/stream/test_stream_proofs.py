"""The long proofs of the stream function: the built artifact, AWS's own Runtime API, large answers, many callers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from stream_stage import FOLDER, NAME, BySdk, ByUrl, Stage, event_of

from emulator import asked, emulated
from hookcache_ops.backends.converse_stream_server import ConverseStreamServer, Gate, text_events
from hookcache_ops.local.aws import LocalAws
from hookcache_ops.local.lambda_service import Function
from missing import required
from waiting import eventually

pytestmark = [pytest.mark.prove, pytest.mark.xdist_group("stream")]
ROOT = FOLDER.parents[1]
USAGE = {"inputTokens": 11, "outputTokens": 2, "totalTokens": 13}


def test_the_artifact_streams_by_itself(tmp_path: Path) -> None:
    """G13, issue D: what `make` builds for this machine holds all that it needs, links followed and the script executable."""
    uv = shutil.which("uv") or str(required(ROOT / ".uv/bin/uv", "uv is not installed: run `make setup` once"))
    built = subprocess.run(
        ["make", "--makefile", "functions/Makefile", "build-StreamFunction"],
        cwd=ROOT,
        env=os.environ
        | {
            "UV": uv,
            "ARTIFACTS_DIR": str(tmp_path),
            "HOOKCACHE_BUILD_PLATFORM": "native",
            "HOOKCACHE_BUILD_PYTHON": sys.executable,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == built.returncode, built.stderr
    assert [] == [path for path in tmp_path.rglob("*") if path.is_symlink()]
    assert not (tmp_path / "template.yaml").exists()

    event = event_of()
    with LocalAws() as aws, ConverseStreamServer() as model:
        settings = {
            **aws.settings(),
            "TARGET_MODEL_ID": "us.amazon.nova-pro-v1:0",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": model.url,
        }
        # Neither the checkout nor the packages of this environment are found.
        python = tmp_path.parent / "python-alone"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="$LAMBDA_TASK_ROOT" exec {sys.executable} -S "$@"\n')
        python.chmod(0o755)
        command = (str(tmp_path / "stream_wrapper"), str(python), "/var/runtime/bootstrap.py")
        aws.functions.add(Function(NAME, tmp_path, environment=settings, timeout_seconds=60, command=command))
        client = aws.client("lambda")
        miss, hit = BySdk(client, event).all(), BySdk(client, event).all()
        log = aws.functions.logs(NAME)

    assert miss.text == hit.text, log
    assert miss.text.startswith("sum up")
    assert 1 == model.calls


PLAIN_APP = """
def lambda_handler(event, context):
    if "raise" in event:
        if event["raise"] == "midway":
            context.stream.begin("text/plain")
            context.stream.write(b"half")
        raise LookupError("the model is gone")
    if "pieces" not in event:
        return {"echo": event}
    context.stream.begin("text/plain")
    for piece in event["pieces"]:
        context.stream.write(piece.encode())
"""


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[str]:
    """AWS's runtime interface emulator with our runtime in it; the address for invocations."""
    for name in ("stream_wrapper", "stream_runtime.py", "stream_response.py"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "app.py").write_text(PLAIN_APP)
    command = (str(tmp_path / "stream_wrapper"), sys.executable, "/var/runtime/bootstrap.py")
    environ = {
        "LAMBDA_TASK_ROOT": str(tmp_path),
        "AWS_LAMBDA_FUNCTION_NAME": NAME,
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "5",
    }
    with emulated(tmp_path, command, environ) as url:
        yield url


def test_awss_own_runtime_api_understands_our_runtime(emulator: str) -> None:
    """Issue D: whole answers, streamed ones, errors before and behind the first piece, one after another in one process."""
    assert {"echo": {"a": 1}} == json.loads(asked(emulator, {"a": 1}))
    assert b"one two" == asked(emulator, {"pieces": ["one ", "two"]})
    assert "LookupError" == json.loads(asked(emulator, {"raise": "before"}))["errorType"]
    assert b"half" == asked(emulator, {"raise": "midway"})[:4]
    assert {"echo": {"a": 2}} == json.loads(asked(emulator, {"a": 2}))


def test_an_answer_of_megabytes_is_streamed_kept_in_the_bucket_and_replayed(stage: Stage) -> None:
    """P49: 3 MB that hardly compress go to S3; the replay is the same text, in pieces."""
    words = [f"{os.urandom(30_000).hex()} " for _ in range(50)]
    event = event_of()
    stage.model.tell(*text_events(words, USAGE))
    miss = BySdk(stage.lambda_client, event).all()
    stage.aws.functions.kill_environments(NAME)
    hit = ByUrl(stage.url, event).all()

    assert "".join(words) == miss.text == hit.text
    assert (1, "hit_table") == (stage.model.calls, stage.receipts()[-1]["outcome"])
    assert len(hit.events) > 500


def test_a_caller_who_does_not_read_does_not_keep_an_answer_from_being_kept(stage: Stage) -> None:
    """P20, P53: 3 MB for a caller who reads nothing; the receipt is written and the entry kept all the same."""
    words = [f"{os.urandom(30_000).hex()} " for _ in range(50)]
    event, before = event_of(), len(stage.receipts())
    stage.model.tell(*text_events(words, USAGE))
    caller = ByUrl(stage.url, event)

    assert eventually(lambda: len(stage.receipts()) > before, 30)
    assert ("miss", "") == (stage.receipts()[-1]["outcome"], stage.receipts()[-1]["refusal"])
    assert "".join(words) == caller.all().text


def test_eight_callers_at_once_cost_one_call(stage: Stage) -> None:
    """P23: in eight environments; all hear the same, one of them as the model speaks."""
    gate, event, before = Gate(), event_of(), len(stage.receipts())
    start, first, *rest = text_events(["one ", "two"], USAGE)
    stage.model.tell(start, first, gate, *rest)
    told: list[str] = []
    callers = [
        threading.Thread(target=lambda: told.append(ByUrl(stage.url, event, timeout=60).all().text)) for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    assert gate.reached.wait(30)
    assert eventually(lambda: len(stage.aws.functions.environments(NAME)) >= 8, 30)
    gate.opened.set()
    for caller in callers:
        caller.join(60)
    outcomes = sorted(receipt["outcome"] for receipt in stage.receipts()[before:])

    assert (["one two"] * 8, 1, 8) == (told, stage.model.calls, len(outcomes))
    assert 1 == outcomes.count("miss")
    assert {"miss", "collapsed", "hit_table", "hit_memory"} >= set(outcomes)

"""The examples run by one command each, and the samples beside them are what the suites are run with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loaded import loaded
from ops.sample_hooks import SETTINGS

EXAMPLES = Path(__file__).parents[2] / "examples"
SAMPLES = sorted(file.name.removesuffix(".request.json") for file in (EXAMPLES / "samples").glob("*.request.json"))
SHORT = {"chandra-ocr-hook": "chandra", "mistral-ocr-hook": "mistral", "cohere-parse-hook": "cohere"} | {
    "sagemaker-hook": "sagemaker",
    "w2-copy-consistency": "w2",
}
USUAL = ["miss", "hit_memory", "hit_table"]


def run(example):
    command = [sys.executable, str(EXAMPLES / "run.py"), example, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture(scope="module")
def runner():
    return loaded(EXAMPLES / "run.py", "examples_run")


@pytest.mark.parametrize("example", ["wrapper", "decorator", "layer"])
def test_each_way_to_chain_can_be_tried_by_one_command(example):
    """A miss, a memory hit and a table hit; only the first is charged."""
    status, rows, errors = run(example)

    assert (0, "") == (status, errors)
    assert USUAL == [row["outcome"] for row in rows]
    assert [1, 0, 0] == [row["usage"]["pages"] for row in rows]


@pytest.mark.prove
def test_each_sample_can_be_tried_by_one_command():
    """In front of each sample hook, with the documented settings."""
    status, rows, errors = run("samples")
    outcomes = {}
    for row in rows:
        outcomes.setdefault(row["function"].removeprefix("GENAIIDP-cache-"), []).append(row["outcome"])

    assert (0, "") == (status, errors)
    assert (
        dict.fromkeys(SAMPLES, USUAL) | dict.fromkeys(["cdk-bridge", "w2-copy-consistency"], ["bypass"] * 3) == outcomes
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_each_samples_answer_is_kept_under_its_settings(make_rig, runner, name):
    """The JSON beside the example is good by the documented rules; the same requests, without processes."""
    request = json.loads((EXAMPLES / "samples" / f"{name}.request.json").read_text())
    answer = json.loads((EXAMPLES / "samples" / f"{name}.answer.json").read_text())
    rig = make_rig(HOOKCACHE_POLICY=json.dumps(runner.POLICIES.get(name, {})))
    rig.backend.handler = lambda event: answer
    for _ in range(2):
        for block in request["messages"][0]["content"]:
            if "image" in block:
                block["image"]["source"]["s3Location"]["uri"] = rig.image(b"a page")
        rig.call(request)

    meant = {"cdk-bridge": ["bypass"] * 2, "w2-copy-consistency": ["bypass"] * 2}
    assert meant.get(name, ["miss", "hit_memory"]) == rig.outcomes
    assert {"modelId", "messages", "system", "inferenceConfig", "context"} <= request.keys()


def test_the_examples_use_the_settings_that_the_suite_proves(runner):
    """One policy per sample hook, in the example, in the suite and in docs/chaining.md alike."""
    assert {name: SETTINGS[SHORT[name]] for name in runner.POLICIES} == dict(runner.POLICIES)


def test_a_wrong_name_is_bad_input():
    """Exit status 2 and the names to choose from."""
    status, rows, errors = run("nothing")

    assert (2, []) == (status, rows)
    assert "choose from" in errors

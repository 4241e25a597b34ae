"""The Step Functions workflows: their definitions, their template, and their runs on the interpreter."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from hookcache_ops import workflow
from hookcache_ops.cli import main
from hookcache_ops.demo_screen import Screen
from hookcache_ops.local.router import Router
from hookcache_ops.local.step_functions import SUBSTITUTION, Execution
from hookcache_ops.pages import PageImage
from hookcache_ops.workflow import NAMES, PROMPT, Failure, Row, _show, down, given, trouble_of, twice
from hookcache_ops.workflow_stage import BACKENDS, FAILURES, OCR, READER, WorkflowStage
from missing import missing, required

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "workflows"
DEFINITIONS = sorted(FOLDER.glob("*.asl.json"))
VALIDATOR = ROOT / "node_modules" / ".bin" / "asl-validator"


def states_of(machine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every state of a definition, inner ones of Map and Parallel included."""
    for state in machine["States"].values():
        yield state
        for inner in (*state.get("Branches", ()), *([state["ItemProcessor"]] if "ItemProcessor" in state else ())):
            yield from states_of(inner)


def unguarded(machine: dict[str, Any], *, caught: bool = False) -> list[str]:
    """Resources of tasks that are not tried again, or whose failure nobody catches: neither they nor a Parallel around them."""
    found = []
    for state in machine["States"].values():
        own = caught or bool(state.get("Catch"))
        for branch in state.get("Branches", ()):
            found += unguarded(branch, caught=own)
        if "ItemProcessor" in state:  # what a Map catches has lost all its pages
            found += unguarded(state["ItemProcessor"])
        if state["Type"] == "Task" and not (state.get("Retry") and own):
            found.append(state["Resource"])
    return found


def astray(machine: dict[str, Any]) -> list[str]:
    """States whose catch leads to one that does not tell the error, or does not put the error where that one reads it."""
    found = []
    for name, state in machine["States"].items():
        for inner in (*state.get("Branches", ()), *([state["ItemProcessor"]] if "ItemProcessor" in state else ())):
            found += astray(inner)
        for catcher in state.get("Catch", ()):
            told = "$.failure.Error" in json.dumps(machine["States"][catcher["Next"]])
            there = catcher["ResultPath"] == "$.failure" or "$.failure.Error" in json.dumps(state)
            found += [] if told and there else [name]
    return found


THROTTLES = frozenset(
    {
        *("BackendThrottled", "Lambda.TooManyRequestsException", "ServiceThrottledError"),
        *("ServiceUnavailableException", "ServiceUnavailable"),
        *re.findall(r'"(\w+)": ServiceThrottledError', (ROOT / "functions" / "parts" / "aws_service.py").read_text()),
    }
)
"""
The wrapper's word for a backend whose concurrency is used up, Lambda's own, and the backends' for a busy service: their own, and
what AWS's services call a 503 (Bedrock, SageMaker) or a throttle, which leaves under its own name.
"""


def hasty(machine: dict[str, Any]) -> int:
    """Tasks of functions that wait out some throttle for less than a minute."""
    found = 0
    for state in states_of(machine):
        if state["Type"] == "Task" and state["Resource"].endswith("lambda:invoke"):
            patient: set[str] = set()
            for retrier in state["Retry"]:
                waits = [retrier["BackoffRate"] ** number for number in range(retrier["MaxAttempts"])]
                if retrier["IntervalSeconds"] * sum(waits) >= 60:
                    patient |= set(retrier["ErrorEquals"])
            found += not patient >= THROTTLES
    return found


def validated(file: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("node") is None or not VALIDATOR.exists():
        missing("the ASL validator is not installed: run `npm ci`")
    return subprocess.run(
        ["node", VALIDATOR, "--json-path", file], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkflowStage]:
    with WorkflowStage(tmp_path_factory.mktemp("workflow"), reader_seconds=0.0) as started:
        yield started


class TestDefinitions:
    def test_each_workflow_has_one(self):
        assert sorted(f"{name}.asl.json" for name in NAMES) == [file.name for file in DEFINITIONS]

    @pytest.mark.parametrize("file", DEFINITIONS, ids=lambda file: file.name)
    def test_the_validator_takes_it(self, file):
        run = validated(file)

        assert run.returncode == 0, run.stdout + run.stderr

    def test_the_validator_finds_a_state_that_leads_nowhere(self, tmp_path):
        """Negative control of the test above."""
        spoilt = json.loads(DEFINITIONS[0].read_text())
        spoilt["StartAt"] = "Nowhere"
        file = tmp_path / "spoilt.asl.json"
        file.write_text(json.dumps(spoilt))

        assert validated(file).returncode != 0

    @pytest.mark.parametrize("file", DEFINITIONS, ids=lambda file: file.name)
    def test_every_task_is_retried_and_caught(self, file):
        """P27: a follower that waited in vain raises a retryable error; a lost page must not lose the document."""
        machine = json.loads(file.read_text())

        assert unguarded(machine) == []

    @pytest.mark.parametrize("file", DEFINITIONS, ids=lambda file: file.name)
    def test_what_is_caught_is_told_under_its_own_name(self, file):
        """Else the execution ends in `States.Runtime`, which says nothing of the backend."""
        assert astray(json.loads(file.read_text())) == []

    @pytest.mark.parametrize("wrong", [{"Next": "Collect"}, {"ResultPath": "$.other"}], ids=str)
    def test_a_catch_that_leads_astray_is_found(self, wrong):
        """Negative control of the test above."""
        machine = json.loads((FOLDER / "prompt-chain.asl.json").read_text())
        machine["States"]["Summarise"]["Catch"][0] |= wrong

        assert astray(machine) == ["Summarise"]

    def test_a_task_without_retry_is_found(self):
        """Negative control of the test above."""
        machine = json.loads((FOLDER / "cached-task.asl.json").read_text())
        bare = copy.deepcopy(machine)
        del bare["States"]["Ask"]["Retry"]

        assert unguarded(bare) == ["arn:aws:states:::lambda:invoke"]

    def test_a_parallel_catches_for_its_own_tasks_only(self):
        """Negative control as well: what stands before it has to catch for itself."""
        machine = json.loads((FOLDER / "parallel-prompts.asl.json").read_text())
        del machine["States"]["Read"]["Catch"]

        assert unguarded(machine) == ["arn:aws:states:::lambda:invoke"]

    @pytest.mark.parametrize("file", DEFINITIONS, ids=lambda file: file.name)
    def test_throttles_are_waited_out(self, file):
        """P22, F23: several pages at once use up a backend's concurrency, which is free again when one of them was read."""
        machine = json.loads(file.read_text())

        assert hasty(machine) == 0

    def test_a_task_that_does_not_wait_is_found(self):
        """Negative control of the test above."""
        machine = json.loads((FOLDER / "parallel-prompts.asl.json").read_text())
        machine["States"]["Read"]["Retry"][0]["ErrorEquals"].remove("BackendThrottled")
        machine["States"]["Ask"]["Branches"][0]["States"]["Classify"]["Retry"][0]["MaxAttempts"] = 2

        assert hasty(machine) == 2

    def test_the_template_gives_every_substitution(self):
        template = yaml.load((FOLDER / "template.yaml").read_text(), Loader=_AnyTag)
        used = {name for file in DEFINITIONS for name in SUBSTITUTION.findall(file.read_text())}
        machines = [
            resource["Properties"]
            for resource in template["Resources"].values()
            if resource["Type"] == "AWS::Serverless::StateMachine"
        ]

        assert sorted(machine["DefinitionUri"] for machine in machines) == [file.name for file in DEFINITIONS]
        assert all(set(machine["DefinitionSubstitutions"]) == used for machine in machines)

    def test_sam_takes_the_template(self):
        sam = required(ROOT / ".venv-sam/bin/sam", "the SAM command line is not installed: run `make setup` once")
        run = subprocess.run(
            [sam, "validate", "--lint", "--template", FOLDER / "template.yaml", "--region", "eu-west-1"],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "SAM_CLI_TELEMETRY": "0"},
        )

        assert run.returncode == 0, run.stdout + run.stderr


class _AnyTag(yaml.SafeLoader):
    """CloudFormation's short forms as what they hold."""


def _content(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


_AnyTag.add_multi_constructor("!", _content)


class TestRouter:
    def test_each_service_has_its_own_endpoint(self):
        router = Router(functions="functions", table="table", rest="rest")

        assert [
            router.endpoint_of("/2015-03-31/functions/x/invocations", ""),
            router.endpoint_of("/", "DynamoDB_20120810.PutItem"),
            router.endpoint_of("/", "AWSStepFunctions.StartExecution"),
        ] == ["functions", "table", "rest"]


def longest_chain(machine: dict[str, Any]) -> int:
    """Prompts that wait for each other: those of a Parallel count once."""
    return sum(
        max(map(longest_chain, state["Branches"]))
        if state["Type"] == "Parallel"
        else "PromptFunction" in json.dumps(state.get("Parameters", {}))
        for state in machine["States"].values()
    )


class TestPatience:
    SLOWEST = 60.0  # what --seconds takes at most

    def test_the_slowest_reader_fits_into_every_workflow(self, tmp_path):
        """`--seconds 60` is offered, so an execution whose prompts take that long is not given up before its end."""
        patience = WorkflowStage(tmp_path, self.SLOWEST).patience_seconds({"page": {}})
        needed = {file.name: longest_chain(json.loads(file.read_text())) * self.SLOWEST for file in DEFINITIONS}

        assert max(needed.values()) == 180.0
        assert all(patience >= seconds + 30 for seconds in needed.values())

    def test_it_grows_with_the_pages_and_not_without_need(self, tmp_path):
        """Control: what hangs is noticed as soon as ever where nothing is slow."""
        stage = WorkflowStage(tmp_path, 0.0)
        few, many = ({"document": "x", "pages": [{}] * count} for count in (1, 50))

        assert stage.patience_seconds({"page": {}}) == 40.0
        assert stage.patience_seconds(many) - stage.patience_seconds(few) == 490.0


LETTER = "Dear reader,\n20 March 2026\n3,860.00\nYours sincerely"
PLAIN = """
import boto3

def lambda_handler(event, _context):
    _, image = event["messages"][0]["content"]
    assert (event["context"], image["image"]["format"]) == ("OCR", "jpeg")
    bucket, _, key = image["image"]["source"]["s3Location"]["uri"].removeprefix("s3://").partition("/")
    text = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    return {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn"}
"""
"""Reads pages that are the text itself."""


@pytest.fixture
def plain_pages(stage, tmp_path) -> Iterator[Any]:
    """Uploads texts as pages, which a reader of such pages stands ready for."""
    (tmp_path / "app.py").write_text(PLAIN)
    stage.begin(tmp_path.name)
    stage.aws.functions.update_code(f"GENAIIDP-{OCR}", tmp_path)
    yield lambda *texts: stage.upload([PageImage("d", 1, 1, 1, text.encode()) for text in texts])
    stage.aws.functions.update_code(f"GENAIIDP-{OCR}", BACKENDS[OCR])


class TestOnTheInterpreter:
    def test_the_second_run_reaches_no_backend(self, stage):
        """The first run fetches; the second is answered by the wrapper, and returns the same."""
        row = twice(stage, "cached-task", ())

        assert (row.status, row.backend_calls, row.same_output) == (("SUCCEEDED", "SUCCEEDED"), (1, 0), True)

    def test_a_backend_that_is_down_is_tried_again_and_ends_in_the_catch_state(self, stage):
        """P17: nothing is stored of it; the error's own name arrives in the workflow."""
        failure = down(stage)

        assert (failure.status, failure.error, failure.retried, failure.ended_in) == (
            "FAILED",
            "ReaderUnavailable",
            2,
            "GaveUp",
        )

    def test_after_the_failure_the_backend_is_asked_again(self, stage):
        """P17: an error is never served as an answer."""
        stage.begin("recovery")
        stage.break_reader(down=True)
        first, _ = stage.run("cached-task", given(stage, "cached-task", ()))
        stage.break_reader(down=False)
        second, calls = stage.run("cached-task", given(stage, "cached-task", ()))

        assert (first.status, second.status, calls) == ("FAILED", "SUCCEEDED", 1)
        assert second.output == {"text": " / ".join(PROMPT.splitlines()[1:])}

    def test_an_answer_without_usage_is_an_answer(self, stage, tmp_path):
        """P33: a backend may count nothing, and a usage that is no object is taken out: at AWS no Catch takes such an end."""
        reader = (FOLDER / "reader" / "app.py").read_text()
        (tmp_path / "app.py").write_text(reader.replace('"usage": {**usage', '"other": {**usage'))
        stage.begin("uncounted")
        stage.aws.functions.update_code(f"GENAIIDP-{READER}", tmp_path)
        runs = [stage.run("cached-task", given(stage, "cached-task", ())) for _ in range(2)]
        stage.aws.functions.update_code(f"GENAIIDP-{READER}", FOLDER / "reader")

        assert [("SUCCEEDED", 1), ("SUCCEEDED", 0)] == [(execution.status, calls) for execution, calls in runs]

    def test_each_prompt_gets_what_it_asks_about(self, stage, plain_pages):
        """Chained or at once: class, values and summary are those of the page that was read; a chain's hold what came before."""
        page = plain_pages(LETTER)[0]
        chain, parallel = (stage.run(name, {"page": page})[0] for name in ("prompt-chain", "parallel-prompts"))
        told = {"class": {"class": "letter"}, "values": {"amounts": ["3,860.00"], "dates": ["20 March 2026"]}}
        lines = " / ".join(line for line in LETTER.splitlines() if line != "3,860.00")

        assert parallel.output == {**told, "summary": lines}
        assert chain.output == {**told, "summary": f"{json.dumps(told['values'])} / {lines}"}

    @pytest.mark.parametrize("name", ["prompt-chain", "parallel-prompts"])
    def test_a_prompt_that_fails_ends_its_workflow_under_its_own_name(self, stage, plain_pages, name):
        """P17: and in the catch state, not in one that looks for answers which are not there."""
        page = plain_pages(LETTER)[0]
        stage.break_reader(down=True)
        execution, _ = stage.run(name, {"page": page})
        stage.break_reader(down=False)

        assert (execution.error, execution.states[-1]) == ("ReaderUnavailable", "GaveUp")

    def test_all_pages_are_read_in_their_order(self, stage, plain_pages):
        pages = plain_pages("one", "two", "three")
        execution, calls = stage.run("map-pages", {"document": "d", "pages": pages})

        assert execution.output == [{"number": n, "text": text} for n, text in enumerate(("one", "two", "three"))]
        assert calls == 3

    @pytest.mark.prove
    def test_a_backend_that_is_throttled_for_a_while_fails_no_run(self, stage):
        """P22, F23: five seconds, where two quick retries are over after three."""
        stage.begin("throttled")
        limit = stage.aws.functions.update_limits
        limit(f"GENAIIDP-{READER}", concurrency=0)
        free = threading.Timer(5.0, limit, (f"GENAIIDP-{READER}",), {"concurrency": 10})
        free.start()
        execution, calls = stage.run("cached-task", given(stage, "cached-task", ()))
        free.join()

        assert (execution.status, calls) == ("SUCCEEDED", 1)

    def test_a_page_that_fails_is_noted_in_the_engines_table(self, stage):
        """The other pages' run ends well; the note holds the error's name and nothing of the page."""
        stage.begin("lost-page")
        lost = {"uri": "s3://idp-working-bucket/temp/lambdahook/gone.jpeg", "format": "jpeg"}
        execution, _ = stage.run("map-pages", {"document": "lost", "pages": [lost]})
        notes = stage.aws.client("dynamodb").scan(TableName=FAILURES)["Items"]
        (note,) = [note for note in notes if note["document"] == {"S": "lost"}]

        assert execution.output == [{"number": 0, "error": "NoImageError"}]
        assert (note["page"], note["error"], set(note)) == (
            {"N": "0"},
            {"S": "NoImageError"},
            {"document", "page", "error", "time"},
        )

    @pytest.mark.prove
    def test_a_note_that_the_table_refuses_loses_no_page(self, stage):
        """No engine takes an empty key: the run goes on, and its output still says which page was not read."""
        stage.begin("unnoted-page")
        lost = {"uri": "s3://idp-working-bucket/temp/lambdahook/gone.jpeg", "format": "jpeg"}
        execution, _ = stage.run("map-pages", {"document": "", "pages": [lost]})

        assert execution.status == "SUCCEEDED"
        assert execution.output == [{"number": 0, "error": "NoImageError"}]


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_all_workflows_on_real_pages(capsys, tmp_path):
    """Each twice on OCR'd pages: no backend call the second time, and prompts asked at once end sooner."""
    letter = str(ROOT / "documents" / "letter.pdf")
    status = main(["workflow", "--document", letter, "--seconds", "3", "--json", "-o", str(tmp_path)])
    figures = json.loads(capsys.readouterr().out)
    rows = {row["workflow"]: row for row in figures["workflows"]}

    assert (status, figures["trouble"]) == (0, [])
    assert {name: row["backend_calls"] for name, row in rows.items()} == {
        "cached-task": [1, 0],
        "prompt-chain": [4, 0],
        "parallel-prompts": [4, 0],
        "map-pages": [2, 0],
    }
    assert rows["parallel-prompts"]["after_first"] < rows["prompt-chain"]["after_first"]
    with capsys.disabled():
        print(
            f"\nthree prompts: chain {rows['prompt-chain']['after_first']} s, at once {rows['parallel-prompts']['after_first']} s"
        )


GOOD = Row(
    workflow="x",
    status=("SUCCEEDED", "SUCCEEDED"),
    error=("", ""),
    seconds=(1.0, 0.1),
    after_first=0.5,
    backend_calls=(1, 0),
    same_output=True,
)


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "remedy"),
        [
            (["no-such"], r"no workflow is called no-such; choose from cached-task, prompt-chain"),
            (["--seconds", "-1"], r"--seconds must be from 0 to 60"),
            (["--document", "missing.pdf"], r"missing\.pdf"),
            (["-o", "/dev/null/x"], r"name another folder with --output"),
        ],
    )
    def test_bad_input_is_one_line_and_status_2(self, arguments, remedy, capsys):
        assert main(["workflow", *arguments]) == 2
        captured = capsys.readouterr()
        assert re.search(remedy, captured.err)
        assert captured.err.count("\n") == 1

    @pytest.mark.parametrize(
        ("changed", "trouble"),
        [
            ({}, ""),
            ({"backend_calls": (1, 1)}, "the second run reached a backend 1 times"),
            (
                {"status": ("SUCCEEDED", "FAILED"), "error": ("", "NoEngineError")},
                "the runs ended SUCCEEDED and FAILED NoEngineError",
            ),
            ({"same_output": False}, "the second run returned something else"),
        ],
    )
    def test_what_is_wrong_is_said(self, changed, trouble):
        assert trouble_of(replace(GOOD, **changed)) == trouble

    def test_all_pages_go_to_the_workflow_that_reads_all(self):
        stage: Any = SimpleNamespace(upload=list)

        assert given(stage, "map-pages", cast("Any", "ab")) == {"document": "sample", "pages": ["a", "b"]}
        assert given(stage, "prompt-chain", cast("Any", "ab")) == {"page": "a"}

    @pytest.mark.parametrize(("status", "told"), [("SUCCEEDED", True), ("FAILED", False)], ids=["control", "failed"])
    def test_runs_that_failed_have_no_figures(self, status, told, capsys):
        """No page was read and nothing was sooner, though a run that ends at once is over in less than a millisecond."""
        seconds = {"prompt-chain": 0.4, "parallel-prompts": 0.2 if told else 0.0, "map-pages": 0.1}
        rows = [
            replace(GOOD, workflow=name, after_first=took, status=(status, status)) for name, took in seconds.items()
        ]
        _show(Screen(quiet=False), rows, Failure("FAILED", "ReaderUnavailable", 2, "GaveUp"), 3)
        shown = capsys.readouterr().out

        assert ("2.0 times sooner" in shown, "read 3 pages" in shown) == (told, told)
        assert "tried again 2 times, then FAILED in state GaveUp with ReaderUnavailable" in shown
        assert "prompt-chain │ 1.00 s │ 1 │ 0.10 s │ 0 │ the same" in re.sub(" +", " ", shown)


class PlayedStage:
    """A stage whose runs end as a test says: cached-task, run twice and then with its backend down."""

    engine = "no engine"

    def __init__(self, calls_again: int, down: str) -> None:
        ended = Execution("SUCCEEDED", {"text": "x"}, "", ("Ask",), 0, 0.5, 0.1)
        failed = Execution("FAILED", None, "ReaderUnavailable", ("Ask", down), 2, 3.0, 0.1)
        self.runs = iter([(ended, 1), (ended, calls_again), (failed, 3)])

    def __enter__(self) -> PlayedStage:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def begin(self, _namespace: str) -> None:
        """There are no settings."""

    def break_reader(self, *, down: bool) -> None:
        """There is no reader."""

    def run(self, _workflow: str, _given: Any) -> tuple[Execution, int]:
        try:
            return next(self.runs)
        except StopIteration:
            raise TimeoutError("it did not end within 40 s") from None


class TestStatus:
    @pytest.mark.parametrize(
        ("calls_again", "down", "status", "told"),
        [
            (0, "GaveUp", 0, ""),
            (2, "GaveUp", 1, "cached-task: the second run reached a backend 2 times"),
            (0, "Ask", 1, "did not retry and end in its catch state"),
        ],
        ids=["control", "not cached", "not caught"],
    )
    def test_what_went_wrong_is_told_and_ends_with_status_1(
        self, calls_again, down, status, told, monkeypatch, capsys, tmp_path
    ):
        """And `--json` prints the figures and nothing else, into a folder that need not be there."""
        monkeypatch.setattr(workflow, "WorkflowStage", lambda _folder, _seconds: PlayedStage(calls_again, down))
        assert main(["workflow", "cached-task", "--json", "-o", str(tmp_path / "a" / "b")]) == status
        captured = capsys.readouterr()
        figures = json.loads(captured.out)

        assert figures["workflows"][0]["backend_calls"] == [1, calls_again]
        assert (told in captured.err, bool(captured.err), len(figures["trouble"])) == (True, bool(status), status)

    def test_a_run_that_does_not_end_is_one_line_and_status_1(self, monkeypatch, capsys, tmp_path):
        stage = PlayedStage(0, "GaveUp")
        stage.runs = iter([])
        monkeypatch.setattr(workflow, "WorkflowStage", lambda _folder, _seconds: stage)
        assert main(["workflow", "cached-task", "--json", "-o", str(tmp_path)]) == 1
        captured = capsys.readouterr()

        assert captured.out == ""
        assert captured.err == f"hookcache workflow: it did not end within 40 s; see the logs in {tmp_path}\n"

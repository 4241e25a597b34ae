"""
`hookcache workflow`: the state machines of workflows/, run twice each on this machine, and once with a backend down.

    run 1   a new namespace: every task reaches the backend
    run 2   the same input under new image names: no task does
    down    the prompts' backend fails: the task is tried again and ends in the catch state
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Table

from hookcache_ops.bad_input import BadInput
from hookcache_ops.demo_screen import Screen
from hookcache_ops.local.server_process import StartFailedError
from hookcache_ops.local.step_functions import missing
from hookcache_ops.output import one_line
from hookcache_ops.pages import PageImage, render
from hookcache_ops.workflow_stage import PROJECT, WorkflowStage

NAMES = ("cached-task", "prompt-chain", "parallel-prompts", "map-pages")
EXAMPLE = """examples:
  hookcache workflow
  hookcache workflow prompt-chain parallel-prompts --seconds 3
  hookcache workflow map-pages --document my-document.pdf --json
"""
PROMPT = "Summarise\nDear reader,\nthis letter says what a state machine is for.\nYours sincerely"


@dataclass(frozen=True, slots=True)
class Row:
    """
    One workflow's two runs.

    error          the name of each run's, empty where it succeeded
    seconds        of each run; `after_first`: of run 1, without its first state, the reading of the page
    backend_calls  in each run
    same_output    whether run 2 returned what run 1 did
    """

    workflow: str
    status: tuple[str, str]
    error: tuple[str, str]
    seconds: tuple[float, float]
    after_first: float
    backend_calls: tuple[int, int]
    same_output: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """The run with the backend down: how it ended, after how many retries, in which state."""

    status: str
    error: str
    retried: int
    ended_in: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("workflow", nargs="*", metavar="WORKFLOW", help=f"which: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--document", metavar="PDF", help="its pages are read (default: the sample statement)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=2.0,
        help="that the prompts' backend takes for each answer (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON and nothing else")
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", default="build/workflow", help="for logs (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """0 done; 1 a second run reached a backend, or a run did not end as it should."""
    chosen = tuple(dict.fromkeys(args.workflow)) or NAMES
    if unknown := [name for name in chosen if name not in NAMES]:
        raise BadInput(f"no workflow is called {unknown[0]}; choose from {', '.join(NAMES)}")
    if not 0 <= args.seconds <= 60:
        raise BadInput("--seconds must be from 0 to 60")
    if lacking := missing():
        raise BadInput(f"{lacking} not installed: `make setup` sets up what the interpreter needs")
    output = Path(args.output)
    screen = Screen(quiet=args.json)
    try:
        pages = list(render(Path(args.document or PROJECT / "documents" / "statement.pdf")))
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{output}: {error.strerror or error}; name another folder with --output") from None
    try:
        with WorkflowStage(output, args.seconds) as stage:
            screen.say(f"A local AWS with Step Functions, four Lambda functions, and {stage.engine} as the table")
            return _play(stage, chosen, pages, screen, as_json=args.json)
    except (ClientError, BotoCoreError, StartFailedError, TimeoutError) as error:
        print(f"hookcache workflow: {error}; see the logs in {output}", file=sys.stderr)
        return 1


def _play(
    stage: WorkflowStage, chosen: Sequence[str], pages: Sequence[PageImage], screen: Screen, *, as_json: bool
) -> int:
    rows = []
    for name in chosen:
        screen.say(f"{name}: two runs")
        rows.append(twice(stage, name, pages))
    screen.say("cached-task with its backend down")
    failure = down(stage)
    found = [f"{row.workflow}: {trouble}" for row in rows if (trouble := trouble_of(row))]
    if failure.status != "FAILED" or failure.retried < 1 or failure.ended_in != "GaveUp":
        found.append("with its backend down, the workflow did not retry and end in its catch state")
    if as_json:
        print(json.dumps({"workflows": [asdict(row) for row in rows], "failure": asdict(failure), "trouble": found}))
    else:
        _show(screen, rows, failure, len(pages))
    for line in found:
        print(f"hookcache workflow: {one_line(line)}", file=sys.stderr)
    return 1 if found else 0


def twice(stage: WorkflowStage, workflow: str, pages: Sequence[PageImage]) -> Row:
    """Run it in a namespace of its own, and again with the same pages under new names."""
    stage.begin(workflow)
    runs = [stage.run(workflow, given(stage, workflow, pages)) for _ in range(2)]
    (first, calls), (second, calls_again) = runs
    return Row(
        workflow=workflow,
        status=(first.status, second.status),
        error=(first.error, second.error),
        seconds=(round(first.seconds, 3), round(second.seconds, 3)),
        after_first=round(first.after_first, 3),
        backend_calls=(calls, calls_again),
        same_output=first.output == second.output is not None,
    )


def down(stage: WorkflowStage) -> Failure:
    """The cached task with a backend that fails, in a namespace that has no answer for it."""
    stage.begin("down")
    stage.break_reader(down=True)
    execution, _ = stage.run("cached-task", given(stage, "cached-task", ()))
    stage.break_reader(down=False)
    return Failure(execution.status, execution.error, execution.retried, execution.states[-1])


def given(stage: WorkflowStage, workflow: str, pages: Sequence[PageImage]) -> dict[str, Any]:
    """The input that a workflow takes; images are uploaded anew each time."""
    if workflow == "cached-task":
        return {
            "context": "Summarization",
            "modelId": "hook",
            "system": [{"text": "You summarise business documents for people who decide on them."}],
            "messages": [{"role": "user", "content": [{"text": PROMPT}]}],
            "inferenceConfig": {"temperature": 0},
        }
    uploaded = stage.upload(pages if workflow == "map-pages" else pages[:1])
    return {"document": "sample", "pages": uploaded} if workflow == "map-pages" else {"page": uploaded[0]}


def trouble_of(row: Row) -> str:
    """What is wrong with a row, or nothing."""
    if row.status != ("SUCCEEDED", "SUCCEEDED"):
        told = (f"{status} {error}".strip() for status, error in zip(row.status, row.error, strict=True))
        return f"the runs ended {' and '.join(told)}"
    if row.backend_calls[1]:
        return f"the second run reached a backend {row.backend_calls[1]} times"
    return "" if row.same_output else "the second run returned something else"


def _show(screen: Screen, rows: Sequence[Row], failure: Failure, pages: int) -> None:
    table = Table(title="Each workflow, twice", title_justify="left", title_style="bold")
    for title in ("workflow", "1st run", "calls", "2nd run", "calls", "output"):
        table.add_column(title, justify="left" if title == "workflow" else "right", no_wrap=title == "workflow")
    for row in rows:
        table.add_row(
            row.workflow,
            f"{row.seconds[0]:.2f} s",
            str(row.backend_calls[0]),
            f"{row.seconds[1]:.2f} s",
            str(row.backend_calls[1]),
            "the same" if row.same_output else "[bold red]differs",
        )
    screen.result.print(table)
    seconds = {row.workflow: row.after_first for row in rows if not trouble_of(row)}
    if {"prompt-chain", "parallel-prompts"} <= set(seconds):
        chain, parallel = seconds["prompt-chain"], seconds["parallel-prompts"]
        screen.result.print(
            f"Three prompts about a page that was read: {chain:.2f} s one after the other, {parallel:.2f} s at once, "
            f"{chain / parallel:.1f} times sooner."
        )
    if "map-pages" in seconds:
        screen.result.print(f"map-pages read {pages} pages, up to 4 at once.")
    screen.result.print(
        f"With the backend down: tried again {failure.retried} times, then {failure.status} "
        f"in state {failure.ended_in} with {failure.error}."
    )

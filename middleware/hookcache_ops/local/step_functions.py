"""
Step Functions on this machine: moto's interpreter of state machines, with tasks that reach real processes and engines.

    start_execution ── moto (interpreter) ── router ─┬─ Lambda service: AWS's own runtime client
                                                     └─ the local AWS's DynamoDB engine

What AWS does and this does not: permissions, the 256 KiB limit of a state's data, and quotas.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import urllib3

from hookcache_ops.local.aws import LocalAws
from hookcache_ops.local.engines import MOTO
from hookcache_ops.local.lambda_service import ACCOUNT, REGION
from hookcache_ops.local.pool import CREDENTIALS
from hookcache_ops.local.router import Router
from hookcache_ops.local.server_process import ServerProcess

NEEDED = ("antlr4", "jsonpath_ng", "moto", "flask")
# The address of the interpreter's tasks is read from the environment, which a server process does not inherit.
START = "import os, sys; os.environ['MOTO_PORT'] = sys.argv.pop(1); from moto.server import main; main(sys.argv[1:])"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/workflow"
POLL_SECONDS = 0.05
SUBSTITUTION = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Execution:
    """
    A finished execution.

    status   SUCCEEDED, FAILED, TIMED_OUT or ABORTED
    output   what it returned, parsed; None where it failed
    error    the error's name where it failed, else ""
    states   names of the states entered, in order; a Map's and a Parallel's inner ones among them
    retried  how often a task was tried again
    seconds  from start to end; `after_first`: from the end of its first state on
    """

    status: str
    output: Any
    error: str
    states: tuple[str, ...]
    retried: int
    seconds: float
    after_first: float


class StepFunctions:
    """The interpreter for as long as its `with` block, in front of `aws`, which is started already."""

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws
        self._open = ExitStack()
        self._client: Any = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            table = self._aws.environment()["AWS_ENDPOINT_URL_DYNAMODB"]
            router = stack.enter_context(Router(self._aws.functions.endpoint, table))
            server = stack.enter_context(
                ServerProcess(
                    MOTO,
                    lambda port: (sys.executable, "-c", START, str(router.port), "-H", "127.0.0.1", "-p", str(port)),
                )
            )
            router.rest = server.url
            urllib3.request(
                "POST", f"{server.url}/moto-api/config", json={"stepfunctions": {"execute_state_machine": True}}
            )
            session = boto3.Session(
                aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
                region_name=REGION,
            )
            self._client = session.client("stepfunctions", endpoint_url=server.url)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def create(self, definition: Path, substitutions: Mapping[str, str]) -> str:
        """
        The state machine of an ASL file, its `${Name}` replaced as `DefinitionSubstitutions` replaces them; its ARN.

        Raises:
            KeyError: the file names a substitution that is not given.
        """
        text = SUBSTITUTION.sub(lambda found: substitutions[found[1]], definition.read_text())
        name = f"{definition.name.split('.')[0]}-{uuid.uuid4().hex[:8]}"
        created = self._client.create_state_machine(name=name, definition=text, roleArn=ROLE)
        return str(created["stateMachineArn"])

    def run(self, machine: str, given: Any, patience_seconds: float = 40.0) -> Execution:
        """
        Execute `machine` with the input `given`, and wait for its end.

        Raises:
            TimeoutError: it did not end within `patience_seconds`.
        """
        began = time.monotonic()
        # Always named: without a name moto starts what it has already.
        started = self._client.start_execution(stateMachineArn=machine, name=uuid.uuid4().hex, input=json.dumps(given))
        arn = started["executionArn"]
        while (seen := self._client.describe_execution(executionArn=arn))["status"] == "RUNNING":
            if time.monotonic() - began > patience_seconds:
                raise TimeoutError(f"{machine.rpartition(':')[2]} did not end within {patience_seconds:.0f} s")
            time.sleep(POLL_SECONDS)
        events = self._client.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        entered = [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
        first_left = next(
            (event["timestamp"] for event in events if event["type"].endswith("StateExited")), events[-1]["timestamp"]
        )
        scheduled = sum(event["type"] == "TaskScheduled" for event in events)
        tasks = sum(event["type"] == "TaskStateEntered" for event in events)
        output = seen.get("output")
        return Execution(
            status=seen["status"],
            output=None if output is None else json.loads(output),
            error=seen.get("error", ""),
            states=tuple(entered),
            retried=scheduled - tasks,
            seconds=(events[-1]["timestamp"] - events[0]["timestamp"]).total_seconds(),
            after_first=(events[-1]["timestamp"] - first_left).total_seconds(),
        )


def missing() -> str:
    """The packages that the interpreter needs and this environment lacks, comma separated."""
    return ", ".join(name for name in NEEDED if importlib.util.find_spec(name) is None)

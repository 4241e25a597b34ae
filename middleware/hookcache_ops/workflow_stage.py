"""
What `hookcache workflow` plays on: a local AWS with the interpreter of state machines and two cached backends.

    Step Functions ── Lambda ─┬─ GENAIIDP-cache-ocr ── GENAIIDP-ocr       functions/ocr: real OCR
                              └─ GENAIIDP-cache-reader ── GENAIIDP-reader  workflows/reader: rules, takes its time
                   └─ DynamoDB: notes of failed pages
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hookcache_ops.local.aws import WORKING_BUCKET, LocalAws
from hookcache_ops.local.engines import DYNAMODB_LOCAL, DYNOXIDE, MOTO, available
from hookcache_ops.local.lambda_service import Function
from hookcache_ops.local.step_functions import Execution, StepFunctions
from hookcache_ops.pages import PageImage

PROJECT = Path(__file__).resolve().parents[2]
DEFINITIONS = PROJECT / "workflows"
OCR, READER = "ocr", "reader"
BACKENDS = {OCR: PROJECT / "functions" / "ocr", READER: DEFINITIONS / "reader"}
FAILURES = "workflow-failures"
POLICY = {"OCR": {"blank_pages": True}}
PATIENCE_SECONDS, PAGE_SECONDS = 40.0, 10.0
"""How long an execution may take whose prompts are answered at once, and how much longer for each page that is read."""
PROMPTS_IN_A_ROW = 3
"""Of the longest chain in `DEFINITIONS`."""


def table_engine() -> str:
    """The most exact DynamoDB engine that is installed here."""
    return next(name for name in (DYNOXIDE, DYNAMODB_LOCAL, MOTO) if available(name))


class WorkflowStage:
    """
    The stage for as long as its `with` block.

    Args:
        log_folder: gets one file per function.
        reader_seconds: how long the reader takes for each answer.

    Attributes:
        aws: the local AWS that it plays on.
    """

    def __init__(self, log_folder: Path, reader_seconds: float) -> None:
        self.engine = table_engine()
        self.aws = LocalAws(table_engine=self.engine, log_folder=log_folder)
        self._reader_seconds = reader_seconds
        self._open = ExitStack()
        self._steps: StepFunctions
        self._machines: dict[str, str] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.aws)
            for name, folder in BACKENDS.items():
                self.aws.functions.add(
                    Function(
                        f"GENAIIDP-{name}", folder, environment=self._own(name), timeout_seconds=240, memory_mb=2048
                    )
                )
                self.aws.functions.add(
                    Function(
                        f"GENAIIDP-cache-{name}",
                        PROJECT / "functions" / "hook",
                        environment=self._settings(name, "default"),
                        timeout_seconds=300,
                        memory_mb=512,
                    )
                )
            self.aws.client("dynamodb").create_table(
                TableName=FAILURES,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[
                    {"AttributeName": "document", "AttributeType": "S"},
                    {"AttributeName": "page", "AttributeType": "N"},
                ],
                KeySchema=[
                    {"AttributeName": "document", "KeyType": "HASH"},
                    {"AttributeName": "page", "KeyType": "RANGE"},
                ],
            )
            self._steps = stack.enter_context(StepFunctions(self.aws))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def upload(self, pages: Sequence[PageImage]) -> list[dict[str, str]]:
        """The pages under fresh names, as the host uploads them; `{uri, format}` of each."""
        s3 = self.aws.client("s3")
        uploaded = []
        for page in pages:
            key = f"temp/lambdahook/{uuid.uuid4().hex}.jpeg"
            s3.put_object(Bucket=WORKING_BUCKET, Key=key, Body=page.jpeg)
            uploaded.append({"uri": f"s3://{WORKING_BUCKET}/{key}", "format": "jpeg"})
        return uploaded

    def begin(self, workflow: str) -> None:
        """A namespace of its own for each workflow: none is answered from what another one left."""
        for name in BACKENDS:
            self.aws.functions.update_environment(f"GENAIIDP-cache-{name}", self._settings(name, workflow))

    def run(self, workflow: str, given: Any) -> tuple[Execution, int]:
        """
        Execute the definition workflows/<workflow>.asl.json; the execution, and how many backend calls it took.

        Raises:
            TimeoutError: it did not end.
        """
        if workflow not in self._machines:
            self._machines[workflow] = self._steps.create(
                DEFINITIONS / f"{workflow}.asl.json",
                {
                    "OcrFunction": f"GENAIIDP-cache-{OCR}",
                    "PromptFunction": f"GENAIIDP-cache-{READER}",
                    "FailuresTable": FAILURES,
                },
            )
        before = self._calls()
        execution = self._steps.run(self._machines[workflow], given, self.patience_seconds(given))
        return execution, self._calls() - before

    def patience_seconds(self, given: Any) -> float:
        """How long an execution with the input `given` may take: the reader's own time and the pages count beside the rest."""
        pages = len(given.get("pages", ())) if isinstance(given, dict) else 0
        return PATIENCE_SECONDS + PROMPTS_IN_A_ROW * self._reader_seconds + PAGE_SECONDS * pages

    def break_reader(self, *, down: bool) -> None:
        """From now on the reader fails on every call; or answers again."""
        self.aws.functions.update_environment(
            f"GENAIIDP-{READER}", {**self._own(READER), **({"READER_DOWN": "1"} if down else {})}
        )

    def _calls(self) -> int:
        return sum(
            line.startswith("START RequestId:")
            for name in BACKENDS
            for line in self.aws.functions.logs(f"GENAIIDP-{name}")
        )

    def _own(self, name: str) -> Mapping[str, str]:
        return {"READER_SECONDS": str(self._reader_seconds)} if name == READER else {}

    def _settings(self, name: str, namespace: str) -> dict[str, str]:
        return {
            **self.aws.settings(),
            "HOOKCACHE_BACKEND": f"GENAIIDP-{name}",
            "HOOKCACHE_NAMESPACE": namespace,
            "HOOKCACHE_POLICY": json.dumps(POLICY),
            "POWERTOOLS_SERVICE_NAME": f"GENAIIDP-cache-{name}",
        }

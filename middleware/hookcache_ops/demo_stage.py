"""
What the demo plays on: a local AWS with the wrapper in front of the OCR backend, both in AWS's own runtime client.

    host double ── Lambda ── GENAIIDP-cache-ocr (functions/hook) ── Lambda ── GENAIIDP-ocr (functions/ocr)
                                  │ DynamoDB, S3, secret                          │ S3
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from hookcache_ops.host import NEW_TIMEOUTS
from hookcache_ops.local.aws import WORKING_BUCKET, LocalAws
from hookcache_ops.local.lambda_service import Function

WRAPPER, BACKEND = "GENAIIDP-cache-ocr", "GENAIIDP-ocr"
PROJECT = Path(__file__).resolve().parents[2]

# Our OCR backend raises where it cannot read, so that a blank answer means a blank page and is safe to keep.
POLICY = {"OCR": {"blank_pages": True}}


class StageMissingError(Exception):
    """The demo cannot be played here; the text says what is missing and how to get it."""


class Stage(Protocol):
    """Where requests are sent, and what can be seen of the functions from outside."""

    bucket: str
    s3: Any

    def invoke(self, **parameters: Any) -> Any:
        """`lambda_client.invoke`."""

    def forget_memory(self) -> None:
        """End every environment of the wrapper: the next one starts with an empty memory."""

    def backend_calls(self) -> int:
        """How often the backend was invoked so far, as its own platform counts."""

    def wrapper_lines(self) -> tuple[str, ...]:
        """What the wrapper has written so far."""


class LocalStage:
    """The stage for as long as its `with` block; `log_folder` gets one file per function."""

    bucket = WORKING_BUCKET

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._aws = LocalAws(log_folder=log_folder)

    def __enter__(self) -> Self:
        for name in (WRAPPER, BACKEND):
            (self._log_folder / f"{name}.log").unlink(missing_ok=True)
        self._aws.__enter__()
        self._functions = self._aws.functions
        try:
            self._functions.add(Function(BACKEND, PROJECT / "functions/ocr", timeout_seconds=240, memory_mb=2048))
            settings = {
                **self._aws.settings(),
                "HOOKCACHE_BACKEND": BACKEND,
                "HOOKCACHE_POLICY": json.dumps(POLICY),
                "HOOKCACHE_PRICES": str(PROJECT / "documents" / "demo-prices.yaml"),
                "HOOKCACHE_PRICE_AS": f"lambda_hook/{BACKEND}",
                "POWERTOOLS_SERVICE_NAME": WRAPPER,
            }
            wrapper = Function(
                WRAPPER, PROJECT / "functions/hook", environment=settings, timeout_seconds=300, memory_mb=512
            )
            self._functions.add(wrapper)
            self.s3 = self._aws.client("s3")
            self.invoke = self._aws.client("lambda", NEW_TIMEOUTS.config()).invoke
        except BaseException:
            self._aws.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._aws.__exit__(kind, error, trace)

    def forget_memory(self) -> None:
        self._functions.kill_environments(WRAPPER)

    def backend_calls(self) -> int:
        return sum(line.startswith("START RequestId:") for line in self._functions.logs(BACKEND))

    def wrapper_lines(self) -> tuple[str, ...]:
        return self._functions.logs(WRAPPER)


def check_stage() -> None:
    """
    Whether everything that the stage needs is here, before anything is started.

    Raises:
        StageMissingError: something is not.
    """
    if not (PROJECT / "functions/ocr/app.py").is_file():
        raise StageMissingError("functions/ is not beside this package: run the demo in a checkout, with `make demo`")
    missing = [name for name in ("moto", "flask", "awslambdaric") if importlib.util.find_spec(name) is None]
    if missing:
        raise StageMissingError(f"{', '.join(missing)} not installed: `make demo` sets up what the demo needs")
    if importlib.util.find_spec("rapidocr_onnxruntime") is None and shutil.which("tesseract") is None:
        raise StageMissingError(
            "no OCR here: RapidOCR has no release for this Python; install the system's tesseract-ocr package, "
            "or use Python 3.11 or 3.12 (make distclean, then make demo PYTHON=python3.12)"
        )

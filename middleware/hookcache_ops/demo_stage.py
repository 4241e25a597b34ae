"""
What the demo plays on: a local AWS with the wrapper in front of a backend, both in AWS's own runtime client.

    host double ── Lambda ── GENAIIDP-cache-x (functions/hook) ── Lambda ── GENAIIDP-x (functions/x) ── its service
                                  │ DynamoDB, S3, secret                          │ S3                   (ocr: none)
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from hookcache_ops.backends import NAMES, Backend, named
from hookcache_ops.bad_input import BadInput
from hookcache_ops.host import NEW_TIMEOUTS
from hookcache_ops.local.aws import WORKING_BUCKET, LocalAws
from hookcache_ops.local.lambda_service import Function

PROJECT = Path(__file__).resolve().parents[2]

# Our backends raise where they cannot read, so that a blank answer means a blank page and is safe to keep.
POLICY = {"OCR": {"blank_pages": True}}


class StageMissingError(BadInput):
    """The demo cannot be played here; the text says what is missing and how to get it."""


class Stage(Protocol):
    """Where requests are sent, and what can be seen of the functions from outside; `wrapper` is the name to call."""

    wrapper: str
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
    """The stage of one backend for as long as its `with` block; `log_folder` gets one file per function."""

    bucket = WORKING_BUCKET

    def __init__(self, log_folder: Path, backend: Backend) -> None:
        self.backend, self.wrapper = backend, f"GENAIIDP-cache-{backend.name}"
        self._log_folder = log_folder
        self._open = ExitStack()

    def __enter__(self) -> Self:
        for name in (self.wrapper, self.backend.function):
            (self._log_folder / f"{name}.log").unlink(missing_ok=True)
        with ExitStack() as stack:
            aws = stack.enter_context(LocalAws(log_folder=self._log_folder))
            server = stack.enter_context(self.backend.serve()) if self.backend.serve else None
            self._functions = aws.functions
            self._functions.add(
                Function(
                    self.backend.function,
                    self.backend.path(PROJECT),
                    environment=self.backend.environment(server, aws),
                    timeout_seconds=240,
                    memory_mb=2048,
                )
            )
            self._functions.add(
                Function(
                    self.wrapper,
                    PROJECT / "functions/hook",
                    environment={**aws.settings(), **self._settings()},
                    timeout_seconds=300,
                    memory_mb=512,
                )
            )
            self.s3 = aws.client("s3")
            self.invoke = aws.client("lambda", NEW_TIMEOUTS.config()).invoke
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _settings(self) -> dict[str, str]:
        return {
            "HOOKCACHE_BACKEND": self.backend.function,
            "HOOKCACHE_POLICY": json.dumps(POLICY),
            "HOOKCACHE_PRICES": str(PROJECT / "documents" / "demo-prices.yaml"),
            "HOOKCACHE_PRICE_AS": f"lambda_hook/{self.backend.function}",
            "POWERTOOLS_SERVICE_NAME": self.wrapper,
        }

    def forget_memory(self) -> None:
        self._functions.kill_environments(self.wrapper)

    def backend_calls(self) -> int:
        return sum(line.startswith("START RequestId:") for line in self._functions.logs(self.backend.function))

    def wrapper_lines(self) -> tuple[str, ...]:
        return self._functions.logs(self.wrapper)


def backend_named(name: str) -> Backend:
    """
    The backend to play with.

    Raises:
        StageMissingError: there is none of that name, or a package that it needs is missing.
    """
    try:
        return named(name)
    except KeyError:
        raise StageMissingError(f"no backend is called {name!r}: name one of {', '.join(NAMES)}") from None
    except ModuleNotFoundError as error:
        raise StageMissingError(f"{error.name} not installed: `make demo` sets up what the demo needs") from None


def check_stage(backend: Backend) -> None:
    """
    Whether everything that the stage needs is here, before anything is started.

    Raises:
        StageMissingError: something is not.
    """
    if not (backend.path(PROJECT) / "app.py").is_file():
        raise StageMissingError("functions/ is not beside this package: run the demo in a checkout, with `make demo`")
    missing = [
        name for name in ("moto", "flask", "awslambdaric", *backend.needs) if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise StageMissingError(f"{', '.join(missing)} not installed: `make demo` sets up what the demo needs")
    if importlib.util.find_spec("rapidocr_onnxruntime") is None and shutil.which("tesseract") is None:
        raise StageMissingError(
            "no OCR here: RapidOCR has no release for this Python; install the system's tesseract-ocr package, "
            "or use Python 3.11 or 3.12 (make demo PYTHON=python3.12)"
        )

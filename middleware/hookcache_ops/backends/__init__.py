"""
The ready-made backends as the demo and the tests start them: the function of functions/<name>, and a server on this
machine that speaks the wire format of the service behind it and does real work (OCR where the pattern reads images).

Each module of this package is one backend and holds one `BACKEND`; servers can be told to misbehave.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hookcache_ops.local.aws import LocalAws

NAMES = ("ocr", "bedrock", "sagemaker", "triton", "chandra", "openai")


class Server(Protocol):
    """A started server: where it listens, and how often it was asked for an answer."""

    url: str
    calls: int


@dataclass(frozen=True, slots=True)
class Backend:
    """
    One backend and the service behind it.

    name         functions/<name>, packaged and run as it stands
    serve        starts the service's server for the time of its `with` block; None where the function works alone
    environment  the function's settings, from the started server (None without one) and the local AWS
    units        the price unit names that its usage reports
    needs        packages that the function imports beside what every Lambda has
    """

    name: str
    environment: Callable[[Server | None, LocalAws], Mapping[str, str]]
    serve: Callable[[], AbstractContextManager[Any]] | None = None
    units: tuple[str, ...] = ("inputTokens", "outputTokens")
    needs: tuple[str, ...] = ()

    @property
    def function(self) -> str:
        """The function's name, as the host may invoke it."""
        return f"GENAIIDP-{self.name}"

    def path(self, project: Path) -> Path:
        """Its folder in a checkout."""
        return project / "functions" / self.name


def named(name: str) -> Backend:
    """
    The backend of that name.

    Raises:
        KeyError: no such backend.
    """
    if name not in NAMES:
        raise KeyError(name)
    backend: Backend = importlib.import_module(f"hookcache_ops.backends.{name}").BACKEND
    return backend

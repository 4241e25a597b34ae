"""
A service that says what a test tells it to, over a real socket; and functions of functions/<name>, loaded as they stand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from fakes import BackendRaised
from hookcache_ops.backends.serving import Reply, Request, WireServer
from loaded import loaded

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"


def load_function(folder: str, **environment: str) -> ModuleType:
    """
    The module `app` of functions/<folder>, with the modules beside it as its own attributes' modules.

    Every function has modules of the same names; none of them stays where another's import would find it.
    """
    place = FUNCTIONS / folder
    names = {path.stem for path in place.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    sys.path.insert(0, str(place))
    try:
        with mock.patch.dict("os.environ", environment):
            module = loaded(place / "app.py", "app")
        return module
    finally:
        sys.path.remove(str(place))
        for name in names & sys.modules.keys():
            setattr(module, f"module_{name}", sys.modules.pop(name))
        sys.modules.update(before)


@dataclass(frozen=True, slots=True)
class Says:
    """
    One reply. `way`: `whole`; `cut` (half the body, then the connection ends); `silent` (nothing until the service closes).
    """

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    way: str = "whole"

    @property
    def encoded(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class ScriptedService(WireServer):
    """Replies in the order of `script`, its last one again and again; what was asked is in `requests`."""

    def __init__(self, script: tuple[Says, ...]) -> None:
        super().__init__()
        self.script = list(script)

    def answer(self, request: Request) -> Reply:
        says = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if says.way == "silent":
            self._closing.wait(30)
        headers = {"Content-Type": "application/json", **says.headers}
        return Reply(says.status, says.encoded, headers, cut=says.way in {"cut", "silent"})

    def misfortune(self, how: str, request: Request) -> Reply:
        raise AssertionError(f"{how}: what goes wrong stands in the script")

    @property
    def sent(self) -> list[Any]:
        """The bodies of all requests, parsed from JSON."""
        return [request.json() for request in self.requests]


def scripted(*script: Says) -> ScriptedService:
    """To be used in a `with` block."""
    return ScriptedService(script)


def put_behind(rig: Any, handler: Any, error_type: type[Exception]) -> None:
    """Put a function behind the rig's wrapper; what it raises reaches the wrapper as Lambda would report it."""

    def answer(event: Any) -> Any:
        try:
            return handler(event, None)
        except error_type as error:
            return BackendRaised(type(error).__name__, str(error))

    rig.backend.handler = answer

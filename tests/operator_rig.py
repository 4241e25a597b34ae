"""
What tests of the operator's commands share: the rig with a command line beside it, and commands on its cache.

The rig here takes the standard streams during calls only: between them they belong to the command line, and to pytest,
which gives each phase of a test streams of its own.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hookcache.commands import Commands
from hookcache.settings import Settings
from hookcache_ops.reach import Direct
from rig import Environment, Rig


class OperatedRig(Rig):
    """The rig, whose hook writes to the rig's streams and nobody else does."""

    def __init__(self, **settings: str | None) -> None:
        super().__init__(**settings)
        self._calling = 0
        self._taking = threading.Lock()

    def __enter__(self) -> OperatedRig:
        super().__enter__()
        sys.stdout, sys.stderr = self._streams
        return self

    def call(self, event: Any, environment: Environment | None = None, wishes: Any = None, **context: Any) -> Any:
        with self._streams_taken():
            return super().call(event, environment, wishes, **context)

    @contextmanager
    def _streams_taken(self) -> Iterator[None]:
        """The first caller in takes them, the last one out gives them back."""
        with self._taking:
            self._calling += 1
            if self._calling == 1:
                self._streams = sys.stdout, sys.stderr
                sys.stdout, sys.stderr = self.stdout, self.stderr  # type: ignore[assignment]
        try:
            yield
        finally:
            with self._taking:
                self._calling -= 1
                if self._calling == 0:
                    sys.stdout, sys.stderr = self._streams


@contextmanager
def operator_of(rig: Rig, **settings: str) -> Iterator[Commands]:
    """The operator's commands on the cache of `rig`, with the settings of another wrapper where given."""
    made = Commands(Settings.of({**rig.settings, **settings}), rig.clients, rig.clock)
    try:
        yield made
    finally:
        made.close()


def reach_to(commands: Commands) -> Direct:
    """The cache of the rig as the command line reaches one."""
    return Direct(commands, "the rig")


def arguments(module: Any, *argv: str) -> argparse.Namespace:
    """The arguments of one command as its own parser reads them."""
    parser = argparse.ArgumentParser(prog="hookcache")
    module.add_arguments(parser)
    return parser.parse_args(argv)


class Slow:
    """Clients whose table takes its time for the first read."""

    def __init__(self, clients: Any, seconds: float) -> None:
        self._clients, self._seconds = clients, seconds

    def dynamodb(self) -> Any:
        return self if self._seconds else self._clients.dynamodb()

    def get_item(self, **arguments: Any) -> Any:
        time.sleep(self._seconds)
        self._seconds = 0
        return self._clients.dynamodb().get_item(**arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clients.dynamodb() if name.endswith("_item") else self._clients, name)

"""
The rig over real sockets: the product's own boto3 clients, an engine, and a fault proxy between the two.

The backend stays a double in this process, since what it was asked and what it answered must be known to the letter.
"""

from __future__ import annotations

import os
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from fault_proxy import FaultProxy

from fakes import FakeClients, FakeContext
from hookcache.clients import Clients
from hookcache.clock import SystemClock
from hookcache.items import BUDGET_SECONDS
from hookcache_ops.local.aws import create_table
from hookcache_ops.local.pool import CREDENTIALS
from rig import Environment, Rig
from stopwatch import Stopwatch
from waiting import eventually

REGION = "us-east-1"
SDK = {
    "AWS_ACCESS_KEY_ID": CREDENTIALS["AWS_ACCESS_KEY_ID"],
    "AWS_SECRET_ACCESS_KEY": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


class SettableClock(SystemClock):
    """The machine's clock, whose wall time can be put on: an environment that was frozen, or a clock that is wrong."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> Any:
        return super().now_ms() + self.ahead_ms


class PatientClients(Clients):
    """The product's clients, except that the table may take its time."""

    def dynamodb(self) -> Any:
        return self._client("dynamodb", connect_timeout=20.0, read_timeout=20.0, attempts=1)


class SocketClients(FakeClients):
    """The product's clients for DynamoDB and S3, whose endpoints the environment names; doubles for the rest."""

    def __init__(self, rig: Rig, real: Clients) -> None:
        super().__init__(rig.clock, rig.dynamodb, rig.s3, rig.backend, rig.secrets)
        self.real = real
        self.over_sockets = {"dynamodb"}

    def dynamodb(self) -> Any:
        return self.real.dynamodb() if "dynamodb" in self.over_sockets else super().dynamodb()

    def s3(self) -> Any:
        return self.real.s3() if "s3" in self.over_sockets else super().s3()


class FaultRig(Rig):
    """The rig, which takes the streams anew at each call: pytest puts its own back between a test's phases."""

    def call(self, event: Any, environment: Environment | None = None, wishes: Any = None, **context: Any) -> Any:
        if sys.stdout is not self.stdout:
            sys.stdout, sys.stderr = self.stdout, self.stderr  # type: ignore[assignment]
        return super().call(event, environment, wishes, **context)


class SocketRig(FaultRig):
    """
    The rig over an engine behind a proxy.

    Args:
        in_time: with the product's own time limits, for tests of those. The others wait longer: a machine that stands
            still for half a second is no table that does.

    Attributes:
        proxy: what stands between, to be told how to behave.
    """

    def __init__(self, proxy: FaultProxy, engine_url: str, *, in_time: bool = False, **settings: str | None) -> None:
        table = f"table-{uuid.uuid4().hex[:8]}"
        super().__init__(**{"HOOKCACHE_TABLE": table, "HOOKCACHE_IDENTITY": "pinned", **settings})
        self.proxy = proxy
        self.table = table
        self.clock = SettableClock()  # type: ignore[assignment]
        self.direct = client("dynamodb", engine_url)
        create_table(self.direct, table)
        self.clients = SocketClients(self, Clients() if in_time else PatientClients())
        if in_time:
            self.table_seconds = BUDGET_SECONDS
        self.environments: list[Environment] = []

    def stored(self, kind: str) -> list[dict[str, Any]]:
        """The items of one kind, past the proxy."""
        items = self.direct.scan(TableName=self.table, ConsistentRead=True)["Items"]
        return [item for item in items if item["kind"]["S"].startswith(kind)]

    def close(self) -> None:
        """Give back every thread and socket that the hook holds."""
        for environment in self.environments:
            environment.close()
        for made in self.clients.real._made.values():
            made.close()

    def timed(self, event: Any, **context: Any) -> float:
        """Seconds that one invocation takes; to be held against an upper bound (see `stopwatch.py`)."""
        with Stopwatch() as watch:
            self.call(event, **context)
        return watch.seconds


def client(service: str, url: str, **more: Any) -> Any:
    """A client that goes past every proxy."""
    return boto3.Session().client(service, endpoint_url=url, region_name=REGION, **CREDENTIALS_OF_BOTO, **more)


CREDENTIALS_OF_BOTO = {
    "aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
    "aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
}


def held() -> tuple[int, int]:
    """How many threads of ours run, and how many sockets are open."""
    threads = sum(thread.name.startswith("hookcache") for thread in threading.enumerate())
    sockets = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            sockets += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
        except OSError:
            continue
    return threads, sockets


@contextmanager
def nothing_left_behind(rig: SocketRig) -> Iterator[None]:
    """After the block and the rig's end there are no more threads and sockets than before."""
    before = held()
    yield
    rig.close()
    rig.proxy.drop_connections()  # its side of a connection that hangs is in this process too
    assert eventually(lambda: held()[0] <= before[0] and held()[1] <= before[1]), f"{before} before, {held()} after"


def invocation(rig: Rig, seconds: float) -> FakeContext:
    """The context of an invocation that the platform kills after `seconds`."""
    return FakeContext(rig.clock, seconds)

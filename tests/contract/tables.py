"""What the contract suite puts between the product and a table: clients, a client in trouble, entries to store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError

from fakes import FakeClock, FakeDynamoDB
from hookcache.breaker import Breaker
from hookcache.entry import Entry, Fence
from hookcache.items import Items
from hookcache.key import CacheKey, Secrets
from hookcache.sealer import Sealer
from hookcache.slim import Place, SlimDynamoDB
from hookcache.spending import Spending
from hookcache_ops.local import engines
from hookcache_ops.local.aws import create_table
from ops.local_rig import CREDENTIALS, require_engine

TABLE = "hookcache-contract"
FAKE, DOUBLE = "fake", "model_double"
LEASE_SECONDS = 30.0


def make_client(url: str) -> Any:
    """A client that tries once, as the runtime's own does."""
    once = Config(retries={"total_max_attempts": 1}, max_pool_connections=64)
    return boto3.client("dynamodb", region_name="us-east-1", endpoint_url=url, config=once, **CREDENTIALS)


SLIM = "slim "
"""Before an engine's name: the product's own client of it (docs/adr/0010)."""


ENGINES = (*engines.NAMES, *(SLIM + name for name in engines.NAMES))


def make_slim_client(url: str) -> Any:
    """The slim client as the runtime makes it, with no boto3 to fall back to."""
    keys = {name.upper(): value for name, value in CREDENTIALS.items()}
    place = Place.of({**keys, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": url, "HOME": "/nonexistent"})
    assert place is not None
    return SlimDynamoDB(place, _nothing_else, connect_timeout=20.0, read_timeout=20.0, attempts=1)


def _nothing_else() -> Any:
    raise AssertionError("the slim client gave up on an ordinary call")


class Clients:
    """A client of each table, made when a test first asks for it, kept until the session ends."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._made: dict[str, Any] = {FAKE: FakeDynamoDB(TABLE)}

    def get(self, name: str) -> Any:
        if name not in self._made:
            engine = name.removeprefix(SLIM)
            require_engine(engine)
            url = self._open.enter_context(engines.engine(engine)).url
            client = make_client(url)
            create_table(client, TABLE)
            self._made[name] = make_slim_client(url) if name.startswith(SLIM) else client
        return self._made[name]

    def close(self) -> None:
        self._open.close()


class Troubled:
    """
    A client between the product and its table that misbehaves as told.

    Attributes:
        lose: how many replies are lost after the operation was done; the caller sees a time-out.
        hide_old: failed conditions come without the item that stood in the way.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self.lose = 0
        self.hide_old = False
        self.calls: list[str] = []
        self.at_once = None  # every call is an ordinary one, and goes wrong there

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            self.calls.append(operation)
            try:
                reply = getattr(self._client, operation)(**arguments)
            except Exception as error:
                if self.hide_old:
                    getattr(error, "response", {}).pop("Item", None)
                raise
            if self.lose:
                self.lose -= 1
                raise ReadTimeoutError(endpoint_url="the table")
            return reply

        return call


def items_on(client: Any, spending: Spending | None = None) -> Items:
    """The product's `Items`, with a budget that a slow test machine keeps."""
    return Items(lambda: client, TABLE, Breaker(FakeClock()), spending or Spending(), budget_seconds=20.0)


def sealer() -> Sealer:
    return Sealer(Secrets.derive(b"a secret for the contract suite").tags, "default/contract")


def entry_of(key: CacheKey, fence: int, body: bytes = b'{"output": 1}') -> Entry:
    return Entry(
        key=key,
        fence=Fence(fence),
        created_ms=1_790_000_000_000,
        fresh_until_ms=1_790_000_600_000,
        hard_until_ms=1_790_000_900_000,
        body=body,
        usage={"inputTokens": 12, "pages": 1},
        context="OCR",
        backend_version="7",
        cost={"pages": "0.004"},
    )

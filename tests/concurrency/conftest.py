"""The engines that races are refereed by; moto is none, for its conditional writes are not atomic under threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import boto3
import pytest

from concurrency.fleet import Fleet
from hookcache_ops.local import engines
from hookcache_ops.local.aws import TABLE, create_table
from ops.local_rig import CREDENTIALS, require_engine


@pytest.fixture(scope="session")
def engine_url() -> Iterator[Callable[[str], str]]:
    """The endpoint of an engine with an empty table, started when first asked for."""
    with ExitStack() as stack:
        urls: dict[str, str] = {}

        def url_of(name: str) -> str:
            require_engine(name)
            if name not in urls:
                urls[name] = stack.enter_context(engines.engine(name)).url
                client = boto3.client("dynamodb", "us-east-1", endpoint_url=urls[name], **CREDENTIALS)
                create_table(client, TABLE)
            return urls[name]

        yield url_of


@pytest.fixture
def fleet_of(engine_url: Callable[[str], str]) -> Iterator[Callable[..., Fleet]]:
    """Fleets over an engine, ended with the test."""
    with ExitStack() as stack:

        def made(name: str = engines.DYNAMODB_LOCAL, **told: float) -> Fleet:
            fleet = stack.enter_context(Fleet(engine_url(name), **told))  # type: ignore[arg-type]
            fleet.clear()
            return fleet

        yield made

"""The tables that the contract is checked on: two doubles, and every engine that is installed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from contract.tables import DOUBLE, ENGINES, FAKE, LEASE_SECONDS, Clients, Troubled, items_on, sealer
from fakes import FakeClock, FakeS3
from hookcache.key import CacheKey
from hookcache.lease import LeaseBook
from hookcache.overflow import Overflow
from hookcache.spending import Spending
from hookcache.table import TableTier
from simulation.items_double import MemoryItems


@pytest.fixture(scope="session")
def clients() -> Iterator[Clients]:
    made = Clients()
    yield made
    made.close()


@pytest.fixture(params=[FAKE, *ENGINES])
def client(request: pytest.FixtureRequest, clients: Clients) -> Any:
    """A DynamoDB client."""
    return clients.get(request.param)


@pytest.fixture
def troubled(client: Any) -> Troubled:
    return Troubled(client)


@pytest.fixture(params=[DOUBLE, FAKE, *ENGINES])
def items(request: pytest.FixtureRequest, clients: Clients) -> Iterator[Any]:
    """What the product sees of a table: the double of the model, or `Items` over a client."""
    if request.param == DOUBLE:
        yield MemoryItems()
        return
    over_client = items_on(clients.get(request.param))
    yield over_client
    over_client.close()


@pytest.fixture
def key() -> CacheKey:
    """A key that no other test has used."""
    return CacheKey(uuid.uuid4().bytes + uuid.uuid4().bytes)


@pytest.fixture
def book(items: Any, clock: FakeClock) -> LeaseBook:
    return LeaseBook(items, clock, LEASE_SECONDS)


@pytest.fixture
def bucket(clock: FakeClock) -> FakeS3:
    return FakeS3(clock)


@pytest.fixture
def tier(items: Any, bucket: FakeS3) -> TableTier:
    return TableTier(items, sealer(), Overflow(lambda: bucket, "overflow", Spending()))

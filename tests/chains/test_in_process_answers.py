"""Answers of a handler in this very process that are no plain JSON: as Lambda's runtime would spell them, or not kept."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from fakes import FakeClients, FakeContext, answer, ocr_event
from hookcache.assembly import Assembly
from hookcache.backend import CallableBackend
from hookcache.control import BackendIdentity
from hookcache.settings import Settings
from rig import ENVIRONMENT


@pytest.fixture
def ask(capsys):
    """Ask a handler in process twice for the same; what was answered, and how the receipts say that it ended."""
    environ = {name: value for name, value in ENVIRONMENT.items() if name != "HOOKCACHE_BACKEND"}
    clients = FakeClients()

    def asked(*replies):
        coming = iter(replies)
        assembly = Assembly(Settings.of(environ), environ, clients, clients.clock)
        hook = assembly.hook(CallableBackend(lambda event, context: next(coming)), BackendIdentity(b"package"))
        told = [hook(ocr_event(), FakeContext(clients.clock)) for _ in range(2)]
        assembly.items.close()
        return told, [json.loads(line)["outcome"] for line in capsys.readouterr().out.splitlines()]

    return asked


def test_decimals_are_numbers_and_are_charged(ask):
    """P32, P33: a hook that counts with DynamoDB's numbers is metered like any other."""
    reply = answer("a page", pages=Decimal(2)) | {"confidence": Decimal("97.5")}
    (first, second), outcomes = ask(reply)

    assert ({"pages": 2}, 97.5) == (first["usage"], first["confidence"])
    assert {"pages": 0} == second["usage"]
    assert ["miss", "hit_memory"] == outcomes


def test_what_no_json_can_hold_goes_to_the_runtime_as_it_is_and_is_not_kept(ask):
    """P14, P20: the runtime's own complaint is the right one; a good answer afterwards is not lost on it."""
    bad = answer("a page") | {"at": datetime(2026, 1, 1, tzinfo=UTC)}
    told, outcomes = ask(bad, answer("a page", pages=1))

    assert bad == told[0]
    assert json.loads(json.dumps(told[1]))["usage"] == {"pages": 1}
    assert "hit_memory" not in outcomes

"""
Handlers in this very process: answers that are no plain JSON are as Lambda's runtime would spell them, or not kept; and what a
handler does to its event is its own affair.
"""

import copy
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from fakes import BUCKET, FakeClients, FakeContext, answer, image_block, ocr_event
from hookcache.assembly import Assembly
from hookcache.backend import CallableBackend
from hookcache.clock import Deadline
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


def wreck(event):
    """All that a handler may do to an event in place."""
    event["messages"][0]["content"].append(image_block("s3://elsewhere/page.png"))
    event["messages"][0]["content"][0]["text"] += " and more"
    event["inferenceConfig"]["maxTokens"] = 1
    event["context"] = "Extraction"
    del event["system"], event["modelId"]


class TestHandlerThatChangesItsEvent:
    @pytest.fixture
    def world(self, capsys):
        """A hook before such a handler, what the handler was given, and receipts; images cost 85 tokens each."""
        environ = {name: value for name, value in ENVIRONMENT.items() if name != "HOOKCACHE_BACKEND"}
        clients, given = FakeClients(), []

        def made(**rules):
            def handler(event, context):
                given.append(copy.deepcopy(event))
                wreck(event)
                return answer("a page", inputTokens=1500, outputTokens=20)

            settings = {**environ, "HOOKCACHE_POLICY": json.dumps({"*": {"image_tokens": 85, **rules}})}
            assembly = Assembly(Settings.of(settings), settings, clients, clients.clock)
            assemblies.append(assembly)
            return assembly.hook(CallableBackend(handler), BackendIdentity(b"package"))

        def receipts():
            return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

        assemblies = []
        clients.objects.put_object(Bucket=BUCKET, Key="temp/lambdahook/page.jpeg", Body=b"page")
        yield made, clients, given, receipts
        for assembly in assemblies:
            assembly.items.close()

    def test_its_answer_is_admitted_kept_and_found_again_all_the_same(self, world):
        """P5, P14, P46: neither admission, key nor index sees what the handler made of its event; nor does the caller."""
        made, clients, given, receipts = world
        event = ocr_event(f"s3://{BUCKET}/temp/lambdahook/page.jpeg")
        received = copy.deepcopy(event)
        for hook in (made(), made()):
            hook(event, FakeContext(clients.clock))

        assert [("miss", ""), ("hit_table", "")] == [(each["outcome"], each["refusal"]) for each in receipts()]
        assert [received] == given
        assert received == event
        assert 3 == len(clients.table.of_kind("INDEX"))

    def test_a_check_of_its_hits_compares_answers_to_the_same_event(self, world):
        """P5, P59: the second call is asked what the first one was."""
        made, clients, given, receipts = world
        event = ocr_event(f"s3://{BUCKET}/temp/lambdahook/page.jpeg")
        hook = made(check_share=1.0)
        for _ in range(2):
            hook(event, FakeContext(clients.clock))

        assert "agrees" == receipts()[1]["check"]["result"]
        assert given[0] == given[1]

    def test_an_event_nested_too_deep_to_be_copied_goes_as_it_is(self):
        """P18, B6: it is bypassed anyway."""
        deep = []
        for _ in range(5000):
            deep = [deep]
        seen = []
        backend = CallableBackend(lambda event, context: seen.append(event) or answer("read"))
        backend.invoke({"deep": deep}, None, Deadline(None))

        assert deep is seen[0]["deep"]

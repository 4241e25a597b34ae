"""Operations on the table, and when it is not asked: what the fault tests do not tell apart."""

from types import SimpleNamespace

import pytest

from fakes import ocr_event
from hookcache.breaker import OPENS_AFTER, Breaker, Pass
from hookcache.errors import TierUnavailable
from hookcache.items import Items, Throttled
from hookcache.spending import Spending
from waiting import eventually


@pytest.fixture
def opened(clock):
    """A breaker that has just opened."""
    breaker = Breaker(clock)
    for _ in range(OPENS_AFTER):
        breaker.failed()
    return breaker


def test_an_open_breaker_lets_one_probe_a_second_pass(clock, opened):
    """P19: one, however many ask."""
    told = []
    for seconds in (0, 0.9, 0.2, 0, 0.9, 0.2, 0):
        clock.advance(seconds)
        told.append(opened.ask())

    assert [Pass.STOP, Pass.STOP, Pass.PROBE, Pass.STOP, Pass.STOP, Pass.PROBE, Pass.STOP] == told


@pytest.mark.parametrize(("reply", "found"), [({"ConsumedCapacity": {"CapacityUnits": 0.5}}, True), ({}, False)])
def test_a_probe_whose_reply_was_cut_has_not_found_the_table(clock, opened, reply, found):
    """P19: as no other operation takes such a reply for one."""
    asked = []

    def get_item(**_):
        asked.append(reply)
        return reply

    items = Items(lambda: SimpleNamespace(get_item=get_item), "t", opened, Spending())
    clock.advance(1)
    with pytest.raises(TierUnavailable):
        items.get(b"k", "ENTRY")
    assert eventually(lambda: asked and items._probes._value == items._probes._initial_value)
    items.close()

    assert found is (opened.ask() is Pass.GO)


def test_a_batch_that_the_table_left_unfinished_is_an_error(clock):
    """P46: whoever wrote it may not rely on any of it."""

    def batch_write_item(RequestItems, **_):  # noqa: N803 - the client's name
        return {"UnprocessedItems": RequestItems, "ConsumedCapacity": [{"CapacityUnits": 0}]}

    items = Items(lambda: SimpleNamespace(batch_write_item=batch_write_item), "t", Breaker(clock), Spending())
    with pytest.raises(Throttled):
        items.put_all([{"pk": {"B": b"k"}, "kind": {"S": "INDEX"}}])
    items.close()


def test_an_answer_whose_index_was_left_unfinished_is_not_kept(rig, monkeypatch):
    """P13, P46: an erase could not find it."""
    write = rig.dynamodb.batch_write_item
    monkeypatch.setattr(
        rig.dynamodb, "batch_write_item", lambda **told: write(**told) | {"UnprocessedItems": told["RequestItems"]}
    )
    rig.call(ocr_event())

    assert ("not_indexed", []) == (rig.last["refusal"], rig.entries)

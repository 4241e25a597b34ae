"""The rig's own guards: an oracle that never objects proves nothing."""

import json
import logging
import re
import sys
import threading

import pytest

from fakes import CANARY, WRAPPER, FakeClock, FakeDynamoDB, ocr_event, refusal, summarization_event
from hookcache.assembly import wrapper
from rig import ENVIRONMENT, Rig

KEY = {"pk": {"B": b"k"}, "kind": {"S": "X"}}


@pytest.fixture
def used() -> Rig:
    """A rig after a miss and a hit, closed and found in order; what a test does to it is its own."""
    with Rig() as rig:
        rig.call(ocr_event(rig.image(b"page")))
        rig.call(ocr_event(rig.image(b"page")))
    return rig


def edited(rig, number, **members):
    """One of the rig's receipts with other members."""
    receipts = rig.receipts
    receipts[number] |= members
    rig.stdout.text = "".join(json.dumps(receipt) + "\n" for receipt in receipts)


def test_a_run_in_order_passes(used):
    """P31, P32, P36, control: the oracle objects to what follows and not to everything."""
    used.check()


@pytest.mark.parametrize(
    ("spoil", "promise"),
    [
        (lambda rig: rig.stdout.write(rig.stdout.text.splitlines()[0] + "\n"), "P31"),
        (lambda rig: setattr(rig, "invocations", 3), "P31"),
        (lambda rig: edited(rig, 0, Misses=[0]), "P31"),
        (lambda rig: edited(rig, 0, TableHits=[1]), "P31"),
        (lambda rig: edited(rig, 1, outcome="failed"), "P31"),
        (lambda rig: rig.answers[1]["usage"].update(inputTokens=1), "P32"),
        (lambda rig: rig.backend.units.update(pages=1), "P32"),
        (lambda rig: edited(rig, 1, units_spent={"inputTokens": 5}), "P32"),
        (lambda rig: edited(rig, 1, note=CANARY), "P36"),
        (lambda rig: rig.stderr.write("reading s3://idp-working-bucket/x"), "P36"),
        (lambda rig: rig.errors.append(ValueError(f"bad text {CANARY}")), "P3"),
        (lambda rig: edited(rig, 1, key=rig.entries[0]["pk"]["B"].hex()), "P36"),
        (lambda rig: rig.dynamodb.plant(rig.dynamodb.of_kind("LEASE")[0] | {"state": {"S": "HELD"}}), "P21"),
        (lambda rig: rig.first.cache.flights._flights.update(key=1), "P28"),
        (lambda rig: object.__setattr__(rig.first.assembly.settings, "memory_bytes", 1), "P30"),
    ],
    ids=range(15),
)
def test_the_oracle_objects(used, spoil, promise):
    """P21, P28, P30, P31, P32, P36, control: each thing that it looks at, spoilt once."""
    spoil(used)

    with pytest.raises(AssertionError, match=promise):
        used.check()


def test_log_lines_are_heard(make_rig):
    """P36, control: whatever any logger says while a rig runs is searched."""
    rig = Rig()
    with pytest.raises(AssertionError, match="P36"), rig:
        logging.getLogger("somewhere").warning("the text was %s", CANARY)


def test_streams_are_given_back():
    """P31: a rig listens while it runs and no longer."""
    before = sys.stdout
    with Rig() as rig:
        assert sys.stdout is rig.stdout
    assert before is sys.stdout


def test_the_wrapper_itself_runs_on_the_doubles(rig):
    """P1: `wrapper(environ, clients, clock)` is what functions/hook calls; the rig builds the same parts."""
    rig.call(summarization_event())
    hook = wrapper(ENVIRONMENT, rig.clients, rig.clock)
    answered = hook(summarization_event(), None)
    rig.invocations += 1
    rig.answers.append(answered)

    assert ["miss", "hit_table"] == rig.outcomes
    assert WRAPPER == rig.last["function"]


def test_a_fake_clock_moves_by_hand():
    """P11: wall and elapsed time are two things."""
    clock = FakeClock(1_000, 5.0)
    clock.sleep(2)
    clock.freeze(3)
    clock.set_back(1)

    assert (5_000, 7.0, [2]) == (clock.now_ms(), clock.elapsed(), clock.slept)


class TestTable:
    """The table's double is as strict as the service where the product could be wrong (see tests/contract)."""

    def put(self, condition="", values=None, names=None, **members):
        arguments = {"TableName": "hookcache-table", "Item": {**KEY, **members}}
        if condition:
            arguments["ConditionExpression"] = condition
        if values is not None:
            arguments["ExpressionAttributeValues"] = values
        if names is not None:
            arguments["ExpressionAttributeNames"] = names
        return arguments

    @pytest.mark.parametrize(
        ("condition", "values", "names"),
        [
            ("a = :v", {":v": {"N": "1"}, ":unused": {"N": "1"}}, None),
            ("a = :v", {":v": {"N": "1"}}, {"#unused": "a"}),
            ("a = :undefined", None, None),
            ("#undefined = :v", {":v": {"N": "1"}}, None),
            ("state = :v", {":v": {"S": "HELD"}}, None),
            ("a = :v AND", {":v": {"N": "1"}}, None),
            ("(a = :v", {":v": {"N": "1"}}, None),
            ("a == :v", {":v": {"N": "1"}}, None),
        ],
        ids=range(8),
    )
    def test_a_request_that_the_service_would_refuse_is_refused(self, condition, values, names):
        """P18: a wrong expression must fail here and not in production."""
        with pytest.raises(type(refusal("")), match="ValidationException"):
            FakeDynamoDB().put_item(**self.put(condition, values, names))

    @pytest.mark.parametrize(
        ("condition", "holds"),
        [
            ("attribute_not_exists(a)", False),
            ("a = :one", True),
            ("a <> :one", False),
            ("absent <> :one", True),
            ("absent = :one", False),
            ("absent < :one", False),
            ("a < :text", False),
            ("a <> :text", True),
            ("a < :ten", True),
            ("a BETWEEN :one AND :ten", True),
            ("a IN (:text, :one)", True),
            ("NOT a IN (:text, :ten)", True),
            ("a = :ten OR a = :one AND attribute_exists(a)", True),
            ("(a = :ten OR a = :one) AND attribute_not_exists(a)", False),
            ("begins_with(t, :text)", True),
        ],
    )
    def test_conditions(self, condition, holds):
        """P25: absent attributes, other types, precedence; each judged as real engines judge it."""
        table = FakeDynamoDB()
        table.plant({**KEY, "a": {"N": "1"}, "t": {"S": "1x"}})
        values = {":one": {"N": "1"}, ":ten": {"N": "10"}, ":text": {"S": "1"}}
        used = {name: values[name] for name in re.findall(r":\w+", condition)}
        arguments = self.put(condition, used or None)

        if holds:
            table.put_item(**arguments)
            assert 1 == len(table.items)
        else:
            with pytest.raises(type(refusal("")), match="ConditionalCheckFailed"):
                table.put_item(**arguments)

    def test_an_item_over_400_kb_is_refused(self):
        """P49, S43: names count as well."""
        with pytest.raises(type(refusal("")), match="ValidationException"):
            FakeDynamoDB().put_item(**self.put(b={"B": bytes(400 * 1024)}))

    def test_what_a_caller_holds_is_not_what_is_stored(self):
        """P8: copies go in and come out."""
        table, item = FakeDynamoDB(), {"a": {"M": {"b": {"N": "1"}}}}
        table.put_item(**self.put(**item))
        item["a"]["M"].clear()
        table.get_item(TableName=table.table, Key=KEY)["Item"]["a"]["M"].clear()

        assert {"b": {"N": "1"}} == table.of_kind("X")[0]["a"]["M"]

    def test_one_of_many_writers_wins(self):
        """P23: the double serialises; races are proved on real engines."""
        table, won = FakeDynamoDB(), []

        def write():
            try:
                table.put_item(**self.put("attribute_not_exists(pk)"))
                won.append(1)
            except type(refusal("")):
                return

        writers = [threading.Thread(target=write) for _ in range(16)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()

        assert [1] == won

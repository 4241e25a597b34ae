"""The `usage` of answers: unchanged on a miss, zeros under the same names on a hit."""

import copy
import json
import math

import pytest

from fakes import answer, page_answer, token_answer
from hookcache.usage import MOST_UNITS, metered, parsed, shown_units, without_charge


def test_sound_usage_passes_as_it_is():
    """P9, P33: the very response, numbers of both kinds and any name."""
    response = answer("a", pages=1, inputTokens=2.5, novel=0)

    reply = metered(response)

    assert reply.response is response
    assert ({"pages": 1, "inputTokens": 2.5, "novel": 0}, True, 0) == (reply.units, reply.sound, reply.removed)


@pytest.mark.parametrize("response", [{}, {"output": 1}, [], "text", None, 7], ids=repr)
def test_an_answer_without_usage_stays_without(response):
    """P32, P33: absent stays absent, and what is no object has none."""
    assert response == metered(response).response
    assert response == without_charge(response)
    assert metered(response).sound


@pytest.mark.parametrize("member", ["1500", None, True, False, [1], {"cached": 5}], ids=repr)
def test_what_is_no_number_is_removed_and_counted(member):
    """P33, S54: text, lists, objects and booleans would fail the host after it has metered the call."""
    reply = metered(answer("a", inputTokens=1, other=member))

    assert {"inputTokens": 1} == reply.response["usage"] == reply.units
    assert (True, 1) == (reply.sound, reply.removed)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1, -0.5, 10**400], ids=lambda n: str(n)[:9])
def test_a_bad_number_is_removed_and_makes_the_answer_unsound(number):
    """P33, F26, B4: NaN, infinite, negative, or larger than any metric holds."""
    reply = metered(answer("a", inputTokens=1, outputTokens=number))

    assert {"inputTokens": 1} == reply.response["usage"]
    assert (False, 1) == (reply.sound, reply.removed)


@pytest.mark.parametrize("usage", [None, [], "text", 5, True, [{"inputTokens": 5}]], ids=repr)
def test_a_usage_that_is_no_object_is_removed(usage):
    """P33, F26: the host would fail on it."""
    reply = metered({"output": 1, "usage": usage, "novel": 2})

    assert ["output", "novel"] == list(reply.response)
    assert (False, 1) == (reply.sound, reply.removed)


def test_repair_touches_nothing_else():
    """P9, S27: every other member in its place and order, and the backend's own object unchanged."""
    response = {"novel": {"usage": "x"}, "usage": {"b": "x", "a": 1}, "output": {}, "metrics": [1]}
    before = copy.deepcopy(response)

    repaired = metered(response).response

    assert before == response
    assert '{"novel": {"usage": "x"}, "usage": {"a": 1}, "output": {}, "metrics": [1]}' == json.dumps(repaired)


@pytest.mark.parametrize("response", [token_answer(), page_answer(), answer("a", novel=0.5, pages=2)])
def test_a_hit_returns_every_unit_as_zero(response):
    """P32, S48, S49: the same names in the same order, none added and none dropped, each the number 0."""
    hit = without_charge(response)

    assert list(response["usage"]) == list(hit["usage"])
    assert ["0"] * len(hit["usage"]) == [json.dumps(count) for count in hit["usage"].values()]
    assert list(response) == list(hit)
    assert {**response, "usage": 0} == {**hit, "usage": 0}


def test_a_hit_on_repaired_usage_returns_what_the_miss_returned():
    """P32, P33: the host saw neither text nor boolean on the miss; it sees none on the hit."""
    hit = without_charge(answer("a", inputTokens=5, note="x", cached=True))

    assert {"inputTokens": 0} == hit["usage"]


def test_an_empty_usage_stays_empty():
    """P32: the host counts three zeros for it, as it did on the miss."""
    assert {} == without_charge({"usage": {}})["usage"]


@pytest.mark.parametrize(
    "body",
    [
        *(
            text.encode()
            for text in ('{"a": 1}', '{"a": [1.5, null]}\n', ' {"a": 1}', "{}", "[1]", "3", '{"a": "\\ud83d"}')
        ),
        *('{"a": "\u00e9"}'.encode(code) for code in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32-le")),
        '{"a": "\ud83d"}'.encode("utf-8", "surrogatepass"),
        b'{"a": NaN, "a": 1e999}',
    ],
)
def test_a_kept_answer_is_parsed_as_json_parses_it(body):
    """P8, P9: whatever its encoding, and whatever stands around it."""
    assert repr(json.loads(body)) == repr(parsed(body))


@pytest.mark.parametrize("body", [b'{"a": 1} x', b'{"a": 1', b'{"a": "\xff"}', b""])
def test_what_is_no_json_is_none_either_way(body):
    """P18: the hook makes a miss of it."""
    raised = []
    for read in (json.loads, parsed):
        try:
            read(body)
        except ValueError as error:
            raised.append(type(error))

    assert 2 == len(raised)
    assert raised[0] is raised[1]


def test_an_answer_without_units_is_returned_as_it_is():
    """P32: none added, none dropped, whatever the numbers are."""
    for usage in (
        {},
        {"pages": 0},
        {"pages": 2**53},
        {"pages": 2**53 - 1},
        {"pages": -1},
        {"pages": True},
        {"pages": 1.5},
    ):
        repaired = metered({"usage": usage}).response["usage"]

        assert {"usage": dict.fromkeys(repaired, 0)} == without_charge({"usage": usage})
        assert {"usage": dict.fromkeys(repaired, 0)} == without_charge(
            {"usage": usage}, metered({"usage": usage}).units
        )


@pytest.mark.parametrize("usage", [{"pages": 1}, {"pages": 1, "note": "x"}, {"pages": True}, {}, [1], None, 1])
def test_what_is_known_of_the_units_changes_no_answer(usage):
    """P32, P33: they say when there is nothing to repair, and nothing else; nothing known is nothing said."""
    response = {"a": 1, "usage": usage, "b": 2}
    known = metered(response).units

    assert repr(without_charge(response)) == repr(without_charge(response, known)) == repr(without_charge(response, {}))
    assert {"a": 1, "usage": usage, "b": 2} == response


def test_who_changes_a_repaired_answer_changes_no_receipt():
    """P8: the units that are metered, and kept with the entry, are no part of what the caller gets."""
    told = metered({"usage": {"pages": 1, "note": "two"}})
    told.response["usage"]["pages"] = 99

    assert {"pages": 1} == told.units


def test_a_receipt_names_a_bounded_number_of_units_and_counts_all():
    """P33, P36: a reply may have any number of units; those past the most, and names that are no words, are told together."""
    units = {f"unit{number}": 1 for number in range(MOST_UNITS + 20)}
    shown = shown_units({"of Ms. Canary": 2, **units})

    assert {"other": 2 + 20 + 1} | dict(list(units.items())[: MOST_UNITS - 1]) == shown

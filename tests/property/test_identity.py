"""Properties of the canonical form and the key, over generated requests and every mutation of them."""

import contextlib
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import STEPS, image_block
from hookcache.errors import Unkeyable
from hookcache.request import parse

from . import requests


@given(requests.events(), requests.events())
def test_forms_are_equal_exactly_where_requests_may_share_an_answer(one, other):
    """P1, P2, S10: both ways, against an oracle that shares no code with the form."""
    forms = requests.form_of(one), requests.form_of(other)

    assert None not in forms
    assert (requests.normal(one) == requests.normal(other)) == (forms[0] == forms[1])


@given(requests.events(), st.data())
def test_every_mutation_changes_the_key_but_those_of_the_volatile_list(event, data):
    """P3, S1, S12: change, add, remove, double, swap, rename, at every path; two paths are volatile and no other."""
    before, meaning = requests.form_of(event), requests.normal(event)
    every = list(requests.mutants(event))
    for path, mutant in data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=60)):
        after = requests.form_of(mutant)
        if after is None:
            continue  # bypassed: no key is made of it
        assert (requests.normal(mutant) == meaning) == (after == before), path
        if after == before and not requests.is_volatile(path):
            assert _equivalent_by_e1_to_e4(event, mutant), path


def _equivalent_by_e1_to_e4(one, other) -> bool:
    return requests.normal(one) == requests.normal(other)


@pytest.mark.parametrize("step", STEPS)
def test_every_path_of_every_step_of_the_host_is_keyed(step):
    """P3, S1, S2: each path of the host's five requests, mutated in every way; exactly two paths may stay unseen."""
    event = STEPS[step]()
    event["messages"][0]["content"].append(image_block("s3://b/temp/1", owner="123456789012"))
    before, seen, unseen = requests.form_of(event), set(), set()
    for path, mutant in requests.mutants(event):
        after = requests.form_of(mutant)
        if after is None or after != before:
            seen.add(path)
        if after == before and json.dumps(mutant) != json.dumps(event) and not _same_number(event, mutant, path):
            unseen.add(path)
    location = ("messages", 0, "content", len(event["messages"][0]["content"]) - 1, "image", "source", "s3Location")

    assert set(requests.paths(event)) == seen | {(*location, "bucketOwner")}
    assert {(*location, "uri"), (*location, "bucketOwner")} == unseen


def _same_number(event, mutant, path) -> bool:
    """E2: 0 in place of 0.0; E1 and a list of one turned round are the same text already."""
    try:
        return requests._hashable(requests.at_path(event, path)) == requests._hashable(requests.at_path(mutant, path))
    except (KeyError, IndexError):
        return False


@given(requests.events(), st.randoms(use_true_random=False))
def test_member_order_never_counts(event, random):
    """P2 (E1): at every level."""

    def shuffled(value):
        if isinstance(value, dict):
            items = [(name, shuffled(member)) for name, member in value.items()]
            random.shuffle(items)
            return dict(items)
        return [shuffled(each) for each in value] if isinstance(value, list) else value

    assert requests.form_of(event) == requests.form_of(shuffled(event))


@given(requests.events())
def test_making_a_key_changes_no_event(event):
    """P5: the backend receives what we received."""
    before = copy.deepcopy(event)
    requests.form_of(event)

    assert repr(before) == repr(event)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda i: st.lists(i) | st.dictionaries(st.text(), i),
    )
)
def test_no_event_makes_the_parser_raise_anything_else(event):
    """B1, P18: a request, or one reason why there is none."""
    with contextlib.suppress(Unkeyable):
        assert parse(event).event is event


@given(
    requests.events(), requests.values, st.sampled_from(["messages", "system", "inferenceConfig", "context", "modelId"])
)
def test_no_member_of_another_type_makes_the_form_raise_anything_else(event, value, member):
    """B1, B2, P18: fuzzed at the top level and inside the message."""
    for mutant in (event | {member: value}, {**event, "messages": [{"role": "user", "content": [value]}]}):
        form = requests.form_of(mutant)
        assert form is None or form[:1] == b"o"


@given(
    st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    st.integers() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_numbers_are_one_exactly_if_their_values_are(one, other):
    """P2 (E2), B5: exact values; integers beyond 2^53 are not rounded."""
    from fractions import Fraction

    from hookcache.canonical import number_frame

    assert (Fraction(one) == Fraction(other)) == (number_frame(one) == number_frame(other))

"""Properties of the trace, over generated requests and every mutation of them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from hookcache.key import Keyer, Secrets
from hookcache.request import parse
from hookcache.trace import components

from . import requests

KEYER = Keyer(Secrets.derive(b"secret"), "default")


def traced(event):
    request = parse(event)
    told = components(KEYER, request, [requests.DIGEST] * len(request.images), b"identity", "0")
    told.pop("shapes")  # they follow from the texts, and say less
    return told


@given(requests.events(), requests.events())
def test_components_are_equal_exactly_where_the_forms_are(one, other):
    """P58: whatever changes the key changes a component, so `explain` can always name what it was."""
    assert (requests.form_of(one) == requests.form_of(other)) == (traced(one) == traced(other))


@given(requests.events(), st.data())
def test_every_mutation_that_changes_the_key_changes_a_component(event, data):
    """P58, P3: at every path, unknown members included; and none of those that leave the key alone."""
    before, components_before = requests.form_of(event), traced(event)
    every = list(requests.mutants(event))
    for path, mutant in data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=40)):
        after = requests.form_of(mutant)
        if after is not None:
            assert (before == after) == (components_before == traced(mutant)), path


@given(requests.events())
def test_a_request_with_a_form_has_a_trace_and_it_is_digests_alone(event):
    """P36, P58: hex digits, the kinds of blocks, and the names of the host's own numbers; nothing of the event."""

    def strings(value):
        if isinstance(value, dict):
            for name, member in value.items():
                yield from (name, *strings(member))
        elif isinstance(value, list):
            for each in value:
                yield from strings(each)
        else:
            yield value

    told = components(KEYER, parse(event), [requests.DIGEST] * len(parse(event).images), b"identity", "0")
    blocks = told.pop("blocks")
    own = {"temperature", "topK", "topP", "maxTokens", "spacing", "values", "order", *told, "texts"}

    assert set(blocks) <= {"t", "i"}
    assert [] == [text for text in strings(told) if text not in own and not _is_digest(text)]
    assert json.loads(json.dumps(told)) == told


def _is_digest(text):
    return len(text) == 16 and set(text) <= set("0123456789abcdef")

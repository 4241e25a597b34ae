"""Properties of stored entries and of `usage`, over generated values and generated damage."""

import json
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fakes import START_MS
from hookcache.codec import quick, unquick
from hookcache.entry import Entry
from hookcache.errors import EntryRejected
from hookcache.sealer import Sealer
from hookcache.usage import metered, without_charge
from property.requests import values

SEALER = Sealer(b"tag secret", "default/1")
KEY = b"k" * 32

counts = st.integers(0, 10**12) | st.floats(0, 1e12)
usages = st.dictionaries(st.text(max_size=8), counts, max_size=4)
times = st.integers(0, 2**45)
bodies = st.binary(min_size=1, max_size=3_000) | st.builds(
    lambda text, n: text * n, st.binary(min_size=1, max_size=9), st.integers(1, 4_000)
)


@st.composite
def entries(draw):
    created = draw(times)
    return Entry(
        KEY,
        draw(st.integers(1, 2**45)),
        created,
        created + draw(times),
        created + draw(times),
        draw(bodies),
        draw(usages),
        draw(st.text(max_size=8)),
        draw(st.text(max_size=8)),
        draw(st.dictionaries(st.text(max_size=8), st.decimals(0, 10, places=6).map(str), max_size=3)),
    )


def never(name, size_bytes):
    raise AssertionError("no overflow object was expected")


@given(entries())
def test_an_entry_comes_back_as_it_was_sealed(entry):
    """P6, P8, P9, P49: every field, whatever is in it; no database number type leaks."""
    opened = SEALER.open(KEY, SEALER.seal(entry).item, never)

    assert entry == opened
    assert repr(entry) == repr(opened)


@given(entries(), st.data())
def test_damage_is_never_an_answer(entry, data):
    """P6, B18, F10, F11: bytes flipped, cut, inserted or exchanged between two sealed entries."""
    item = SEALER.seal(entry).item
    name = data.draw(st.sampled_from(sorted(item.keys() - {"ttl"})))
    ((kind, value),) = item[name].items()
    raw = bytearray(value if kind == "B" else value.encode("utf-8"))
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 4)))
    raw[start:end] = data.draw(st.binary(max_size=4))
    told = bytes(raw) if kind == "B" else raw.decode("latin-1")
    assume(told != value)

    try:
        SEALER.open(KEY, item | {name: {kind: told}}, never)
    except EntryRejected:
        return
    raise AssertionError(f"damage to {name} was served")


@given(entries(), entries())
def test_two_entries_do_not_mix(one, other):
    """P6, F11: any attribute of one in place of the other's."""
    item, donor = SEALER.seal(one).item, SEALER.seal(other).item
    for name in item.keys() - {"ttl"}:
        if item[name] == donor.get(name):
            continue
        try:
            SEALER.open(KEY, {**item, name: donor[name]}, never)
        except EntryRejected:
            continue
        raise AssertionError(f"{name} of another entry was believed")


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=5) | st.binary(max_size=5) | st.integers(),
        lambda i: st.lists(i, max_size=3) | st.dictionaries(st.text(max_size=5), i, max_size=3),
    ),
    st.data(),
)
def test_no_planted_item_makes_the_decoder_raise_anything_else(value, data):
    """B18, P18, F12: attributes of any type, missing or extra."""
    item = dict(SEALER.seal(Entry(KEY, 1, START_MS, START_MS, START_MS, b"{}", {}, "OCR", "1", {})).item)
    name = data.draw(st.sampled_from(sorted(item)) | st.text(max_size=5))
    item[name] = value
    try:
        SEALER.open(KEY, item, never)
    except EntryRejected:
        return
    assert name == "ttl"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["output", "usage", "novel"]), anything, max_size=3))
def test_what_the_host_reads_as_usage_is_finite_and_not_negative(response):
    """P33, S54: whatever a backend answers; nothing else of the answer is touched."""
    before = repr(response)
    reply = metered(response)
    usage = reply.response.get("usage", {})

    assert before == repr(response)
    assert all(type(count) in {int, float} and math.isfinite(count) and count >= 0 for count in usage.values())
    assert {name: value for name, value in response.items() if name != "usage"}.keys() == reply.response.keys() - {
        "usage"
    }


@given(st.dictionaries(st.sampled_from(["output", "usage", "novel"]), anything, max_size=3))
def test_a_hit_returns_the_same_names_as_the_miss_with_zeros(response):
    """P32, S48: none added, none dropped; absent stays absent."""
    miss, hit = metered(response).response, without_charge(response)

    assert ("usage" in miss) == ("usage" in hit)
    assert list(miss) == list(hit)
    assert dict.fromkeys(miss.get("usage", {}), 0) == hit.get("usage", {})
    assert "0" * len(hit.get("usage", {})) == "".join(json.dumps(count) for count in hit.get("usage", {}).values())


@given(values)
def test_an_answer_spelt_for_this_process_is_the_same_answer(value):
    """P8, P9: to the type of each number and the order of members; what is no shorter stays as received."""
    body = json.dumps(value).encode()
    spelt = quick(body)

    assert spelt is None or (repr(json.loads(body)), True) == (repr(unquick(spelt)), len(spelt) <= len(body))


@pytest.mark.parametrize(
    ("body", "is_spelt"), [(b"{}", True), (b"[1,1,1,1]", False), (b"[" * 100_000, False), (b"", False)]
)
def test_only_what_takes_no_more_room_is_spelt_anew(body, is_spelt):
    """P30, B6: exactly as long is well; and a hundred thousand levels are no crash."""
    assert is_spelt == (quick(body) is not None)


@given(st.binary(max_size=40))
def test_what_is_no_json_is_not_spelt_anew(body):
    """P18: whatever bytes there are, nothing is raised."""
    try:
        json.loads(body)
    except ValueError:
        assert quick(body) is None

"""The receipt's line: the usual way of spelling it against the general one, which test_emf.py holds to Powertools."""

import json
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

import hookcache.record
from hookcache.outcome import Outcome, Reason
from hookcache.receipt import Receipt
from hookcache.record import MOST, MOST_KNOWN, Recorder

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.one_of(st.sampled_from(["inputTokens", "outputTokens", "pages", "totalTokens"]), WORDS)
COUNTS = st.one_of(st.integers(0, 2**70), st.floats(0, 1e300))
UNITS = st.dictionaries(NAMES, COUNTS, max_size=60)
TIMES = st.floats(0, 1e9)
MONEY = st.decimals(0, Decimal("1e200"), allow_nan=False)

MEMBERS = {
    "outcome": st.sampled_from(Outcome),
    "reason": st.one_of(st.none(), st.sampled_from(Reason)),
    "error_type": WORDS,
    "environment": WORDS,
    "mode": WORDS,
    "key_id": WORDS,
    "age_seconds": st.one_of(st.none(), TIMES),
    "entry_bytes": st.integers(0, 2**40),
    "backend_version": WORDS,
    "images": st.integers(0, 100),
    "image_bytes": st.integers(0, 2**40),
    "units_spent": UNITS,
    "units_saved": UNITS,
    "unpriced": UNITS,
    "own_units": st.dictionaries(st.sampled_from(["lambda_requests", "log_bytes", "table_read_units"]), COUNTS),
    "cost": MONEY,
    "saved_cost": MONEY,
    "own_cost": st.decimals(0, 1_000, allow_nan=False),
    "total_ms": TIMES,
}
ODD = {
    "refusal": st.sampled_from(Reason),
    "components": st.just({"blocks": "t"}),
    "check": st.just({"result": "same"}),
    "would_hit": st.booleans(),
    "agrees": st.booleans(),
    "backend_ms": TIMES,
    "asked_backend": st.booleans(),
    "replay": st.booleans(),
    "units_charged": UNITS,
    **dict.fromkeys(("table_errors", "image_errors", "lease_lost", "corrupt_entries"), st.integers(0, 3)),
    **dict.fromkeys(("usage_removed", "control_ignored"), st.integers(0, 3)),
}


def receipt_of(words, cold, members):
    receipt = Receipt(*words, cold_start=cold)
    for name, value in members.items():
        setattr(receipt, name, value)
    return receipt


@given(
    st.tuples(WORDS, WORDS, WORDS),
    st.booleans(),
    st.fixed_dictionaries({}, optional=MEMBERS),
    st.one_of(st.just({}), st.fixed_dictionaries({}, optional=ODD)),
)
def test_the_usual_way_spells_what_the_general_one_does(words, cold, members, odd):
    """P31, P35: byte by byte, whatever a receipt holds; the ones that tell of something odd go the general way."""
    receipt, recorder = receipt_of(words, cold, {**members, **odd}), Recorder("Test/Namespace", 'a "service"')

    assert recorder.general_line(1_790_000_000_000, receipt) == recorder.line(1_790_000_000_000, receipt)


@given(st.fixed_dictionaries({}, optional={name: each for name, each in MEMBERS.items() if name != "own_cost"}))
def test_no_metric_is_larger_than_cloudwatch_takes(members):
    """P31: a value past 2**360 would cost the whole record; what the members say stays as it was."""
    line = Recorder("Test/Namespace", "s").line(1, receipt_of(("OCR", "f", "1"), False, members))
    record = json.loads(line)
    names = [each["Name"] for each in record["_aws"]["CloudWatchMetrics"][0]["Metrics"]]

    assert max(max(record[name]) for name in names) <= MOST < 2**360


def test_a_hit_goes_the_usual_way(monkeypatch):
    """G1: nothing else would notice if it did not."""
    monkeypatch.setattr(Recorder, "general_line", None)
    hit = receipt_of(("OCR", "f", "1"), False, {"outcome": Outcome.HIT_MEMORY, "units_saved": {"pages": 1}})

    assert '"MemoryHits":[1.0]' in Recorder("Test/Namespace", "s").line(1, hit)


def test_a_trace_stands_behind_every_number():
    """P58, P31: CloudWatch Logs finds 200 fields of a line; those that a long trace pushes out are its own."""
    components = {"texts": [f"{number:016x}" for number in range(200)]}
    traced = receipt_of(("OCR", "f", "1"), False, {"components": components, "units_saved": {"pages": 1}})
    record = json.loads(Recorder("Test/Namespace", "s").line(1, traced))

    assert ("components", components) == list(record.items())[-1]
    assert len(record) > 40, "the numbers are there as well"


def test_units_are_spelt_once_for_all_hits_of_an_entry(monkeypatch):
    """G1, P31: and never for another entry, however many there are."""
    recorder, spelt = Recorder("Test/Namespace", "s"), []
    spell = hookcache.record._spell_units
    monkeypatch.setattr(hookcache.record, "_spell_units", lambda *told: spelt.append(1) or spell(*told))
    for pages in range(3 * MOST_KNOWN):
        receipt = receipt_of(("OCR", "f", "1"), False, {"outcome": Outcome.HIT_MEMORY, "units_saved": {"pages": pages}})
        lines = {recorder.line(1, receipt) for _ in range(3)}

        assert {recorder.general_line(1, receipt)} == lines
        assert pages + 1 == len(spelt)

"""The price table in the running hook: where it is read from, what a broken one does, and that a saving keeps its price."""

from __future__ import annotations

import json
import threading

import pytest

from fakes import (
    BUCKET,
    OVERFLOW_BUCKET,
    classification_event,
    json_answer,
    ocr_event,
    page_answer,
    summarization_event,
)
from hookcache_ops.cli import main
from rig import metric

NOVA, EU_NOVA = "bedrock/us.amazon.nova-pro-v1:0", "bedrock/eu.amazon.nova-pro-v1:0"
SPENT = 1500 * 8e-7 + 200 * 3.2e-6  # what `token_answer` costs at these prices


def table(**rows: dict[str, str]) -> str:
    named = {"us": NOVA, "eu": EU_NOVA, "bare": "amazon.nova-pro-v1:0", "none": "lambda_hook/other"}
    listed = [
        {"name": named[name], "units": [{"name": unit, "price": price} for unit, price in units.items()]}
        for name, units in rows.items()
    ]
    return json.dumps({"pricing": listed})  # JSON is YAML


TOKENS = {"inputTokens": "8.0E-7", "outputTokens": "3.2E-6"}


@pytest.fixture
def priced(make_rig, tmp_path):
    """A rig whose `HOOKCACHE_PRICES` names a file with this text."""

    def build(text: str, price_as: str = NOVA):
        (tmp_path / "prices.yaml").write_text(text)
        return make_rig(HOOKCACHE_PRICES=str(tmp_path / "prices.yaml"), HOOKCACHE_PRICE_AS=price_as)

    return build


def test_a_table_that_hangs_takes_no_more_than_half_of_what_is_left(make_rig, monkeypatch):
    """P20, P21, P34: a backend that left 0.2 s of usable time; the answer goes out in time, and is kept."""
    monkeypatch.setattr("hookcache.prices.LOAD_SECONDS", 3_600.0)
    rig = make_rig(HOOKCACHE_PRICES="ssm:/idp/prices", HOOKCACHE_PRICE_AS=NOVA)
    free, given = threading.Event(), []
    rig.secrets.get_parameter = lambda **_: given.append(free.wait(5)) or {"Parameter": {"Value": table(us=TOKENS)}}
    rig.backend.seconds = 298.8
    try:
        rig.call(summarization_event())
        assert [] == given
        assert ("miss", {"inputTokens", "outputTokens"}) == (rig.last["outcome"], set(rig.last["unpriced_units"]))
    finally:
        free.set()


@pytest.mark.parametrize("place", ["path", "s3", "ssm"])
def test_the_table_is_read_from_a_path_s3_or_a_parameter(place, make_rig, tmp_path):
    """P55: three spellings of HOOKCACHE_PRICES, one cost."""
    (tmp_path / "prices.yaml").write_text(table(us=TOKENS))
    where = {"path": str(tmp_path / "prices.yaml"), "s3": f"s3://{BUCKET}/prices.yaml", "ssm": "ssm:/idp/prices"}
    rig = make_rig(HOOKCACHE_PRICES=where[place], HOOKCACHE_PRICE_AS=NOVA)
    rig.secrets.parameters["/idp/prices"] = table(us=TOKENS)
    rig.s3.put_object(Bucket=BUCKET, Key="prices.yaml", Body=table(us=TOKENS).encode())
    rig.call(summarization_event())

    assert SPENT == pytest.approx(metric(rig.last, "Cost"))
    assert {} == rig.last["unpriced_units"]


@pytest.mark.parametrize(
    "broken",
    ["pricing: [", "prices: []", "pricing: [{name: x}]", "", table(us={"inputTokens": "cheap"}), table(us={"x": "-1"})],
    ids=["no_yaml", "no_pricing", "no_units", "empty", "no_number", "negative"],
)
def test_a_broken_table_leaves_all_unpriced_and_the_request_unharmed(broken, priced, tmp_path, capsys):
    """P34, P55: the answer is the backend's; every unit is named as unpriced, none costs 0; the command names the table."""
    rig = priced(broken)
    reply = rig.call(summarization_event())

    assert 1500 == reply["usage"]["inputTokens"]
    assert {"inputTokens": 1500, "outputTokens": 200} == rig.last["unpriced_units"]
    assert (0, 1) == (metric(rig.last, "Cost"), metric(rig.last, "Unpriced"))
    assert 2 == main(["prices", "--check", str(tmp_path / "prices.yaml")])


@pytest.mark.parametrize(
    "missing", ["/nowhere/prices.yaml", f"s3://{OVERFLOW_BUCKET}/gone.yaml", "ssm:/gone", "s3://x"]
)
def test_a_table_that_cannot_be_had_harms_no_request(missing, make_rig):
    """P34: no file, no object, no parameter, no key in the reference."""
    rig = make_rig(HOOKCACHE_PRICES=missing, HOOKCACHE_PRICE_AS=NOVA)
    rig.call(summarization_event())
    rig.call(summarization_event())

    assert ["miss", "hit_memory"] == rig.outcomes
    assert {"inputTokens": 1500, "outputTokens": 200} == rig.last["unpriced_units"]


@pytest.mark.parametrize("neighbour", ["eu", "bare", "none"])
def test_a_region_never_borrows_anothers_price(neighbour, priced):
    """P55, S50: the same model under another prefix, or none, is another row. The exact row is the control."""
    rig = priced(table(**{neighbour: TOKENS}))
    rig.call(summarization_event())
    assert (0, {"inputTokens", "outputTokens"}) == (metric(rig.last, "Cost"), set(rig.last["unpriced_units"]))

    control = priced(table(**{neighbour: {"inputTokens": "9", "outputTokens": "9"}, "us": TOKENS}))
    control.call(summarization_event())
    assert SPENT == pytest.approx(metric(control.last, "Cost"))


def test_a_unit_never_borrows_anothers_price(priced):
    """P55, S50: cache-read tokens are no input tokens; a page is no request."""
    rig = priced(table(us=TOKENS | {"requests": "1"}))
    rig.backend.handler = lambda event: page_answer() | {"usage": {"pages": 2, "cacheReadInputTokens": 9}}
    rig.call(ocr_event(rig.image(b"page")))

    assert ({"pages": 2, "cacheReadInputTokens": 9}, 0) == (rig.last["unpriced_units"], metric(rig.last, "Cost"))


def test_a_saving_keeps_the_price_that_its_answer_had(priced, tmp_path):
    """P55: frozen when the entry was made; a new table changes what is spent from now on, not what old entries save."""
    rig = priced(table(us=TOKENS))
    rig.call(summarization_event())
    (tmp_path / "prices.yaml").write_text(table(us={"inputTokens": "1", "outputTokens": "1"}))
    rig.cold_start()
    rig.call(summarization_event(), rig.environments[-1])
    assert ("hit_table", SPENT) == (rig.last["outcome"], pytest.approx(metric(rig.last, "SavedCost")))

    rig.call(summarization_event("Another letter."), rig.environments[-1])
    assert ("miss", 1700) == (rig.last["outcome"], metric(rig.last, "Cost"))


def test_what_had_no_price_then_is_unpriced_now(priced, tmp_path):
    """P55: the other direction: a price added later earns no saving for an entry made without."""
    rig = priced(table(none=TOKENS))
    rig.call(summarization_event())
    (tmp_path / "prices.yaml").write_text(table(us=TOKENS))
    rig.cold_start()
    rig.call(summarization_event(), rig.environments[-1])

    assert (0, {"inputTokens": 1500, "outputTokens": 200}) == (
        metric(rig.last, "SavedCost"),
        rig.last["unpriced_units"],
    )


def test_pages_are_saved_like_tokens(priced):
    """P55: any unit that has a price."""
    rig = priced(table(us={"pages": "0.004", "stamps": "0.5"}))
    rig.backend.handler = lambda event: page_answer() | {"usage": {"pages": 3, "stamps": 2}}
    for _ in range(2):
        rig.call(ocr_event(rig.image(b"page")))

    assert (1.012, 1.012) == pytest.approx((metric(rig.receipts[0], "Cost"), metric(rig.last, "SavedCost")))


def test_a_hit_reads_no_table(priced, tmp_path):
    """P34: an environment that only hits never asks for prices."""
    rig = priced(table(us=TOKENS))
    rig.backend.handler = lambda event: json_answer({"class": "invoice"})
    rig.call(classification_event())
    (tmp_path / "prices.yaml").unlink()
    rig.cold_start()
    rig.call(classification_event(), rig.environments[-1])

    assert "hit_table" == rig.last["outcome"]
    assert metric(rig.last, "SavedCost") > 0
    assert {} == rig.last["unpriced_units"]

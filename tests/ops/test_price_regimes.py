"""
What the host charges for our answers, in each of its three pricing regimes: misses once, hits nothing.

The regimes are written here a second time, from the host's behaviour alone, so that a misreading in `hookcache prices`
does not confirm itself.
"""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookcache.usage import metered, without_charge
from hookcache_ops import price_regimes
from hookcache_ops.prices_command import rows_for

NAME = "GENAIIDP-cache-ocr"
ARN = f"arn:aws:lambda:us-east-1:123456789012:function:{NAME}"
TOKENS = {
    "inputTokens": Decimal("8.0E-7"),
    "outputTokens": Decimal("3.2E-6"),
    "cacheReadInputTokens": Decimal("2.0E-7"),
}
PAGES = {"pages": Decimal("0.004")}
USAGES = {
    "tokens": (TOKENS, {"inputTokens": 1500, "outputTokens": 200, "totalTokens": 1700}),
    "cache tokens": (
        TOKENS,
        {"inputTokens": 900, "cacheReadInputTokens": 4000, "outputTokens": 90, "totalTokens": 4990},
    ),
    "pages": (PAGES | TOKENS, {"pages": 1, "inputTokens": 0, "outputTokens": 0, "totalTokens": 0}),
}


def price_a(rows, service, unit, count):
    """Substring: exact name, else the first row that contains the service or is contained in it; likewise the unit."""
    names = [service] if service in rows else [name for name in rows if name in service or service in name]
    if not names:
        return 0.0
    units = rows[names[0]]
    if unit in units:
        return float(units[unit]) * count
    near = [name for name in units if name.lower() in unit.lower() or unit.lower() in name.lower()]
    return float(units[near[0]]) * count if near else 0.0


def row_exactly(rows, service):
    while service not in rows:
        _, slash, service = service.partition("/")
        if not slash:
            return None
    return service


def price_b(rows, service, unit, count):
    """Exact: the longest suffix of the service behind a slash; no row is NULL, a missing unit is free."""
    row = row_exactly(rows, service)
    return None if row is None else float(rows[row].get(unit, 0)) * count


def price_c(rows, service, unit, count):
    """As B, but a missing unit is NULL unless its count is 0 or it is declared free."""
    row = row_exactly(rows, service)
    if row is None:
        return None
    if unit in rows[row]:
        return float(rows[row][unit]) * count
    free = row.split("/")[0] == "lambda_hook" and unit in ("totalTokens", "requests")
    return 0.0 if free or count == 0 else None


REGIMES = {"A": price_a, "B": price_b, "C": price_c}
OURS = dict(zip(REGIMES, price_regimes.Regime, strict=True))


def printed_rows(units):
    """What `hookcache prices` prints for the wrapper, as the host holds it; the host's own rows stand before it."""
    shipped = {
        "lambda/requests": {"requests": Decimal("2.0E-7")},
        "lambda_hook/GENAIIDP-other": {"pages": Decimal("9")},
    }
    return shipped | {name: dict(kept) for _, name, kept in rows_for(NAME, units, ARN)}


def recorded(response):
    """What the host keeps of an answer: three zeros without a usage, else the usage and one request."""
    usage = response.get("usage")
    return {**usage, "requests": 1} if usage else {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}


def bill(regime, rows, service, responses):
    charges = [
        REGIMES[regime](rows, service, unit, count)
        for response in responses
        for unit, count in recorded(response).items()
    ]
    return sum(charge for charge in charges if charge is not None), [charge for charge in charges if charge is None]


@pytest.mark.parametrize("service", [f"lambda_hook/{NAME}", f"lambda_hook/{ARN}"], ids=["bare_key", "arn_key"])
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("usage", USAGES)
def test_the_host_charges_misses_once_and_hits_nothing(usage, regime, service):
    """P32, S48: with the printed rows, 2 misses and 5 hits cost 2 calls in every regime and for both metering keys."""
    units, reported = USAGES[usage]
    answer = {"output": {}, "usage": reported}
    responses = [metered(answer).response] * 2 + [without_charge(answer)] * 5
    once = sum(float(units[unit]) * count for unit, count in reported.items() if unit in units)

    charged, unpriced = bill(regime, printed_rows(units), service, responses)

    assert charged == pytest.approx(2 * once)
    assert unpriced == []


@pytest.mark.parametrize("regime", REGIMES)
def test_control_a_hit_with_the_original_usage_is_charged_again(regime):
    """S48, S49: the fault that zeros prevent, seen by the same bill."""
    units, reported = USAGES["tokens"]
    once, _ = bill(regime, printed_rows(units), f"lambda_hook/{NAME}", [{"usage": reported}])
    twice, _ = bill(regime, printed_rows(units), f"lambda_hook/{NAME}", [{"usage": reported}] * 2)

    assert twice == pytest.approx(2 * once) != once


@pytest.mark.parametrize(("regime", "expected"), [("A", 1500 * 8e-7), ("B", 0.0), ("C", None)])
def test_control_a_unit_of_our_own_would_be_charged_or_unpriced(regime, expected):
    """P32: no unit is added to a usage. `savedInputTokens` would be charged as inputTokens, be free, or be unpriced."""
    charged = REGIMES[regime](printed_rows(TOKENS), f"lambda_hook/{NAME}", "savedInputTokens", 1500)

    assert charged == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("regime", REGIMES)
def test_control_a_price_on_requests_charges_every_hit(regime):
    """The host counts one request for a hit as well."""
    rows = printed_rows(PAGES | {"requests": Decimal("0.01")})
    hit = without_charge({"usage": {"pages": 1}})

    assert bill(regime, rows, f"lambda_hook/{NAME}", [hit])[0] == 0.01


@pytest.mark.parametrize(("regime", "expected"), [("A", 4000 * 8e-7), ("B", 0.0), ("C", None)])
def test_control_a_missing_unit_is_charged_as_its_neighbour_free_or_unpriced(regime, expected):
    """Contract of the host: list every unit that the backend may return."""
    rows = printed_rows({"inputTokens": Decimal("8.0E-7")})

    charged = REGIMES[regime](rows, f"lambda_hook/{NAME}", "cacheReadInputTokens", 4000)

    assert charged == (expected if expected is None else pytest.approx(expected))


NAMES = st.sampled_from(
    ["lambda_hook/a", "a", "ab", "lambda_hook/arn:x:a", "arn:x:a", "lambda_hook", "b/lambda_hook/a", "other/row"]
)
UNITS = st.sampled_from(
    ["inputTokens", "cacheReadInputTokens", "INPUTTOKENS", "pages", "requests", "totalTokens", "cachedPages"]
)
TABLES = st.dictionaries(
    NAMES, st.dictionaries(UNITS, st.sampled_from([Decimal(0), Decimal(1), Decimal(2), Decimal(5)])), max_size=6
)


@pytest.mark.parametrize("regime", REGIMES)
@settings(max_examples=300, deadline=None)
@given(rows=TABLES, service=NAMES, unit=UNITS, count=st.sampled_from([0, 1, 7]))
def test_the_check_prices_as_this_file_does(regime, rows, service, unit, count):
    """Two readings of the host's rules, written apart, agree on any table."""
    ours = price_regimes.charge(OURS[regime], rows, service, unit, count).price

    assert (None if ours is None else float(ours) * count) == REGIMES[regime](rows, service, unit, count)

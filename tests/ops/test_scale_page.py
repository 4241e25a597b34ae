"""docs/scale.md, and what README.md takes from it, against the prices of the code: each figure is worked out here once more."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from hookcache.prices import OWN_PRICES
from monthly_bill import monthly_bill

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")

GB, BACKEND_SECONDS, PAGE_PRICE, MONTH_SECONDS = 0.5, 20, 0.004, 30 * 86_400
READS, WRITES = 1.5, 13
"""Of a miss, as the page's first table tells them."""
LOG_BYTES, ALARM_METRICS, ALARM, SECRET = 2_600, 13, 0.10, 0.40

PRICE = {unit: float(price) for unit, price in OWN_PRICES.items()}
IMAGE = PRICE["s3_requests"] + PRICE["kms_requests"]
LOG = LOG_BYTES * PRICE["log_bytes"]
FIXED = float(monthly_bill(1).custom_metrics) + ALARM_METRICS * ALARM + SECRET
TABLE = READS * PRICE["table_read_units"] + WRITES * PRICE["table_write_units"]


def lambda_of(seconds: float) -> float:
    return PRICE["lambda_requests"] + GB * seconds * PRICE["lambda_gb_seconds"]


MEMORY_HIT = lambda_of(0.002) + IMAGE
TABLE_HIT = lambda_of(0.006) + PRICE["table_read_units"] + IMAGE
MISS_OF_A_DECORATOR = TABLE + PRICE["s3_requests"] + IMAGE
MISS = lambda_of(BACKEND_SECONDS) + MISS_OF_A_DECORATOR
DEFAULT_MISS = MISS + (1 - GB) * BACKEND_SECONDS * PRICE["lambda_gb_seconds"]
"""At the template's default of 1 GB."""
HIT = (MEMORY_HIT + TABLE_HIT) / 2


def of_a_page(ratio: float, miss: float = MISS) -> float:
    return ratio * HIT + (1 - ratio) * miss + LOG


def break_even(miss: float, pages: float) -> float:
    return 100 * (miss + LOG + FIXED / pages) / (PAGE_PRICE + miss - HIT)


def agrees(told: str, figure: float) -> bool:
    """Is it the figure, rounded to as many digits as are told? Noughts at the end of a whole number are none."""
    number = Decimal(told.replace(",", "").removesuffix("%").strip())
    exponent = number.normalize().as_tuple().exponent if number == number.to_integral() else number.as_tuple().exponent
    return abs(float(number) - figure) <= 0.5 * 10.0 ** int(exponent) * (1 + 1e-9)


def rows(beginning: str) -> list[list[str]]:
    """The cells of the table under the header that begins so."""
    table = PAGE.partition("\n" + beginning)[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def figures() -> list[tuple[str, float]]:
    """What the page tells, and what it comes to."""
    found: list[tuple[str, float]] = []
    for name, figure in (
        ("hit from the table", TABLE_HIT),
        ("hit from memory", MEMORY_HIT),
        ("miss, 20 s backend", MISS),
    ):
        found += [(told, figure) for told in re.findall(rf"^    {name} .*= (\S+)$", PAGE, re.MULTILINE)]
    found += [(told, FIXED) for told in re.findall(r"^ +(\S+) +a month$", PAGE, re.MULTILINE)]
    found += [(told, of_a_page(0.5)) for told in re.findall(r"all of ours = pages x (\S+) ", PAGE)]
    found += [(told, of_a_page(0.5, DEFAULT_MISS)) for told in re.findall(r"at 1 GB += pages x (\S+) ", PAGE)]
    for ratio, hits, misses, log, whole in rows("| hit ratio | hits |"):
        h = float(ratio)
        parts = (h * HIT, (1 - h) * MISS, LOG, of_a_page(h))
        found += [(told, part * 1e6) for told, part in zip((hits, misses, log, whole), parts, strict=True)]
    for pages, second, units, bill, ours, _ in rows("| pages a month | per second"):
        n = 10.0 ** int(pages.removeprefix("10^"))
        reads, writes = units.replace(" read", "").replace(" write", "").split(", ")
        a_second = n / MONTH_SECONDS
        found += [(second, a_second), (reads, a_second * (0.5 * READS + 0.25)), (writes, a_second * 0.5 * WRITES)]
        found += [(bill, n * 0.5 * TABLE), (ours, n * of_a_page(0.5) + FIXED)]
    for pages, decorator, wrapper, default in rows("| pages a month | decorator"):
        n = 10.0 ** int(pages.removeprefix("10^"))
        found += [(decorator, break_even(MISS_OF_A_DECORATOR, n)), (wrapper, break_even(MISS, n))]
        found += [(default, break_even(DEFAULT_MISS, n))]
    return found


def test_every_figure_is_what_it_comes_to():
    """P56: estimates, but right ones."""
    assert 3 + 1 + 2 + 3 * 4 + 6 * 5 + 4 * 3 == len(figures())
    assert [] == [(told, figure) for told, figure in figures() if not agrees(told, figure)]


def test_the_readme_tells_what_it_costs_at_the_defaults():
    """P56: its first screen."""
    text = " ".join((Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split())
    told = re.search(
        r"costs about (\S+) USD a month, .*; besides, a million hits cost (\S+) USD, and a million misses (\S+) where .* "
        r"pays from (\S+ %) of hits on at 10,000 pages a month, from (\S+ %) at a million",
        text,
    )
    costs = (FIXED, 1e6 * (HIT + LOG), 1e6 * (DEFAULT_MISS + LOG))

    assert told
    expected = (*costs, break_even(DEFAULT_MISS, 1e4), break_even(DEFAULT_MISS, 1e6))
    assert [] == [pair for pair in zip(told.groups(), expected, strict=True) if not agrees(*pair)]


@pytest.mark.parametrize(("told", "figure"), [("105", 104.36), ("775", 772.8), ("76,000", 75_000.0), ("3.6", 3.66)])
def test_control_a_figure_that_is_off_is_noticed(told, figure):
    assert not agrees(told, figure)

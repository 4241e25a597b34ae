"""
docs/scale.md, and what README.md takes from it, against the prices of the code: sums, months and break-evens are worked out here once more.

What a page uses, what the table stores and the ceilings of AWS's services are taken as they stand.
"""

from __future__ import annotations

import re
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from hookcache.prices import OWN_PRICES
from monthly_bill import monthly_bill

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
TEMPLATE = (ROOT / "template.yaml").read_text(encoding="utf-8")

GB, BACKEND_SECONDS, PAGE_PRICE, MONTH_SECONDS = 0.5, 20, 0.004, 30 * 86_400
READS, WRITES = 1.5, 13
"""Of a miss, as the page's first table tells them."""
LOG_BYTES, ALARM_METRICS, ALARM, SECRET = 2_600, 13, 0.10, 0.40
PROVISIONED_WRITE_HOUR = 0.00065

PRICE = {unit: float(price) for unit, price in OWN_PRICES.items()}
IMAGE = PRICE["s3_requests"] + PRICE["kms_requests"]
LOG = LOG_BYTES * PRICE["log_bytes"]
METRICS, FURTHER = monthly_bill(1), monthly_bill(2).metrics - monthly_bill(1).metrics
METRIC = float(METRICS.custom_metrics) / METRICS.metrics
FIXED = METRICS.metrics * METRIC + ALARM_METRICS * ALARM + SECRET
TABLE = READS * PRICE["table_read_units"] + WRITES * PRICE["table_write_units"]


def gb_seconds(seconds: float) -> float:
    return GB * seconds * PRICE["lambda_gb_seconds"]


def lambda_of(seconds: float) -> float:
    return PRICE["lambda_requests"] + gb_seconds(seconds)


MEMORY_HIT = lambda_of(0.002) + IMAGE
TABLE_HIT = lambda_of(0.006) + PRICE["table_read_units"] + IMAGE
MISS_OF_A_DECORATOR = TABLE + PRICE["s3_requests"] + IMAGE
MISS = lambda_of(BACKEND_SECONDS) + MISS_OF_A_DECORATOR
DEFAULT_GB = int(TEMPLATE.partition("\n  MemorySize:\n")[2].partition("Default: ")[2].split()[0]) / 1_024
DEFAULT_MISS = MISS + (DEFAULT_GB - GB) * BACKEND_SECONDS * PRICE["lambda_gb_seconds"]
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


def powers_of_ten() -> list[float]:
    """Of the page's sums, as they follow each other: all that it tells as a power of ten below 1."""
    request, read, write, get, kms = (
        PRICE[f"{unit}s"]
        for unit in ("lambda_request", "table_read_unit", "table_write_unit", "s3_request", "kms_request")
    )
    waiting = gb_seconds(BACKEND_SECONDS)
    return [
        *(request, gb_seconds(0.006), read, get, kms, TABLE_HIT),
        *(request, gb_seconds(0.002), get, kms, MEMORY_HIT),
        *(request, PRICE["lambda_gb_seconds"], waiting, READS * read, WRITES * write, 2 * get, kms, MISS),
        *(PRICE["log_bytes"], LOG),
        *(TABLE_HIT - kms, MEMORY_HIT - kms),
        *(TABLE_HIT, MEMORY_HIT, MISS, LOG),
        *(of_a_page(0.5), of_a_page(0.5, DEFAULT_MISS)),
        *(write, read),
        *(write, PROVISIONED_WRITE_HOUR / 3_600),
        read,
        *(HIT, LOG),
        *(TABLE, 2 * get, kms, MISS_OF_A_DECORATOR),
        *(MISS, DEFAULT_MISS),
    ]


def of_a_month() -> list[float]:
    """What is paid whatever the pages, as it is told in its own lines and where it comes in again."""
    metrics = [METRICS.metrics, METRIC, METRICS.metrics * METRIC, FURTHER, METRIC, FURTHER * METRIC]
    alarms = [ALARM_METRICS - 2, ALARM, 1, 2 * ALARM, ALARM_METRICS * ALARM]
    return [*metrics, *alarms, SECRET, FIXED, *[FIXED] * 4]


def told_of_a_month() -> list[str]:
    lines = re.findall(
        r"^    (?:metrics|alarms|secret|  ) .*$", PAGE.partition("## Cost of a million")[0], re.MULTILINE
    )
    again = re.findall(r"(?:\+ |every month the )(\d\d\.\d\d)", PAGE.partition("## Cost of a million")[2])
    return [*re.findall(r"\d+(?:\.\d+)?", " ".join(lines)), *again]


def figures() -> list[tuple[str, float]]:
    """What the page tells, and what it comes to."""
    found: list[tuple[str, float]] = []
    found += zip(re.findall(r"\d[\d.]*E-\d+", PAGE), powers_of_ten(), strict=True)
    found += zip(told_of_a_month(), of_a_month(), strict=True)
    shares = re.findall(r"costs (\S+) % of what a miss costs, and (\S+) % of that", PAGE)
    found += zip(
        *shares, (100 * of_a_page(0) / PAGE_PRICE, 100 * gb_seconds(BACKEND_SECONDS) / of_a_page(0)), strict=True
    )
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
    assert len(powers_of_ten()) + len(of_a_month()) + 2 + 3 * 4 + 6 * 5 + 4 * 3 == len(figures())
    assert [] == [(told, figure) for told, figure in figures() if not agrees(told, figure)]


def test_the_readme_tells_what_it_costs_at_the_defaults():
    """P56: its first screen."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    told = re.search(
        r"costs about (\S+) USD a month, (\S+) more for each further step .*; besides, a million hits cost (\S+) USD, and a million misses (\S+) where the "
        rf"backend takes {BACKEND_SECONDS} s. At {PAGE_PRICE} USD a page it pays from (\S+ %) of hits on at 10,000 pages a month, from (\S+ %) at a million",
        text,
    )
    costs = (FIXED, FURTHER * METRIC, 1e6 * (HIT + LOG), 1e6 * (DEFAULT_MISS + LOG))

    assert told
    expected = (*costs, break_even(DEFAULT_MISS, 1e4), break_even(DEFAULT_MISS, 1e6))
    assert [] == [pair for pair in zip(told.groups(), expected, strict=True) if not agrees(*pair)]


@pytest.mark.parametrize(("told", "figure"), [("105", 104.36), ("775", 772.8), ("76,000", 75_000.0), ("3.6", 3.66)])
def test_control_a_figure_that_is_off_is_noticed(told, figure):
    assert not agrees(told, figure)


@pytest.mark.parametrize(
    ("told", "instead"),
    [("3.0E-6 KMS  = 3.8E-6", "3.5E-6 KMS  = 3.8E-6"), ("2.79E-4 at", "2.9E-4 at"), ("19 x 0.30 = 5.70", "19 x 0.30 = 5.90"),
     ("every month the 13.10", "every month the 13.90"), ("7.7E-7\n", "7.9E-7\n"), ("91 % of that", "95 % of that")],
)  # fmt: skip
def test_control_a_part_of_a_sum_that_is_off_is_noticed(told, instead, monkeypatch):
    assert told in PAGE
    monkeypatch.setattr(sys.modules[__name__], "PAGE", PAGE.replace(told, instead))
    assert 1 == sum(not agrees(said, figure) for said, figure in figures())

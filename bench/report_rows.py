"""`hookcache report` over many receipts beside one pass of awk: lines a second, peak memory, and totals that must be equal."""

from __future__ import annotations

from collections.abc import Iterator

from bench.measure import Figure, Row
from bench.report_check import compare

ALONE, AMONG_OTHERS = 5_000_000, 500_000
"""How many receipts, unless somebody says: with the group chosen alone, and in a run of several."""


def report_rows(receipts: int) -> Iterator[Row]:
    """Raises AssertionError where a total of the report is not what awk sums."""
    found = compare(receipts)
    if found.differences:
        raise AssertionError("the report's totals are not those of awk: " + "; ".join(found.differences))
    name = f"report of {receipts:,} receipts"
    ours, awk = found.report, found.awk
    note = (
        f"{found.lines:,} lines from a pipe, receipts that came twice among them ({found.de_duplication}); all totals equal to "
        f"those of one awk pass that forms the same sums; {found.lines / ours.cpu_seconds:,.0f} lines per second of processor"
    )
    yield Row(
        name,
        "lines/s",
        Figure(found.lines / ours.seconds, 0.0),
        {"awk": Figure(found.lines / awk.seconds, 0.0)},
        {"awk": awk.seconds / ours.seconds},
        note,
    )
    yield Row(
        f"{name}, peak memory",
        "MiB",
        Figure(ours.peak_mib, 0.0),
        {"awk": Figure(awk.peak_mib, 0.0)},
        {"awk": awk.peak_mib / ours.peak_mib},
        "VmHWM of the whole process; the awk pass keeps every request id",
    )

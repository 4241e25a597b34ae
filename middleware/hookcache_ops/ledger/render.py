"""A report as text and CSV, and the words and formats that its page shares. JSON is the report's own `to_json`."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

    from hookcache_ops.ledger.summary import Report

CSV_AMOUNTS = (
    *("receipts", "requests", "hits", "hit_ratio"),
    *("cost", "saved_cost", "own_cost", "net_savings", "cost_with_cache", "cost_without_cache"),
)


def money(amount: float) -> str:
    """At least cents, and enough digits to see that something small is not nothing."""
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    if size >= 1000:
        return f"{sign}${size:,.0f}"
    if size >= 0.1 or size == 0:
        return f"{sign}${size:,.2f}"
    if size >= 1e-4:
        return f"{sign}${size:.3g}"
    return f"{sign}${size:.{min(12, 1 - math.floor(math.log10(size)))}f}"  # no exponent: few readers know one as money


UNKNOWN = "no price"
SET_PRICES = "Set PriceAs and PricesObject (HOOKCACHE_PRICE_AS, HOOKCACHE_PRICES): an answer keeps the prices of the day it was stored"


def amount(amounts: dict[str, Any], key: str) -> str:
    """An amount of money in these totals; what hookcache itself used has its price always."""
    return money(amounts[key]) if key == "own_cost" else _if_known(amounts, amounts[key])


def _if_known(amounts: dict[str, Any], value: float) -> str:
    """What the backend's units cost, or that it is not known: no price is never 0 (P55)."""
    return UNKNOWN if amounts["cost_unknown"] else money(value)


def percent(ratio: float | None) -> str:
    return "–" if ratio is None else f"{100 * ratio:.1f} %"


def count(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def millis(value: float) -> str:
    return f"{value:,.1f} ms" if value < 1000 else f"{value / 1000:,.2f} s"


def headline(report: Report) -> str:
    """The answer to "what would it have cost without the cache", in one sentence."""
    totals = report.totals
    if not totals["requests"]:
        return "No receipts in this period."
    without = _unpriced(totals)
    if totals["cost_unknown"]:
        return (
            f"What this period would have cost without the cache is not known: {without}. {SET_PRICES}. "
            f"The cache's own cost was {money(totals['own_cost'])} (estimate)."
        )
    charge = totals["custom_metrics"]["cost"]
    after = (
        "" if charge is None else f", {money(totals['net_savings'] - charge)} after CloudWatch's charge for the metrics"
    )
    return (
        f"Without the cache this period would have cost {money(totals['cost_without_cache'])}; with it, it cost "
        f"{money(totals['cost_with_cache'])}: net savings {money(totals['net_savings'])}{after} (estimate)."
        + (f" In none of these amounts: {without}. Add what is missing to the price table." if without else "")
    )


def _unpriced(totals: dict[str, Any]) -> str:
    """How much has no price; empty where everything has one."""
    if totals["unpriced_units"]:
        return f"{_amounts(totals['unpriced_units'])} without a price"
    requests = totals["metrics"]["Unpriced"]
    return f"the units of {count(requests)} invocations, which have no price" if requests else ""


def facts(report: Report) -> list[tuple[str, str]]:
    """The totals, as label and value."""
    totals = report.totals
    rows = [
        ("Period", f"{_moment(report.period['first'])} to {_moment(report.period['last'])} (UTC)"),
        ("Invocations", count(totals["requests"])),
        ("Answered from the cache", f"{count(totals['hits'])} ({percent(totals['hit_ratio'])} of all invocations)"),
        ("Spent on the backend", amount(totals, "cost")),
        ("Saved by hits", amount(totals, "saved_cost")),
        ("Own cost of hookcache", amount(totals, "own_cost")),
        ("Net savings", amount(totals, "net_savings")),
        *_standing(totals),
        ("Units spent", _amounts(totals["units_spent"])),
        ("Units saved", _amounts(totals["units_saved"])),
    ]
    if totals["unpriced_units"]:
        rows.append(("Units without a price", f"{_amounts(totals['unpriced_units'])}: not in the money above"))
    if totals["units_charged"]:
        rows.append(
            ("Charged to the host on hits", f"{_amounts(totals['units_charged'])}: by choice, saved all the same")
        )
    for kind, name in (
        ("hit", "Latency of hits"),
        ("checked_hit", "Latency of checked hits"),
        ("backend", "Latency with a backend call"),
    ):
        found = totals.get("latency_ms", {}).get(kind)
        if found:
            parts = (
                f"{label} {millis(found[key])}" for label, key in (("p50", "p50"), ("p90", "p90"), ("max", "maximum"))
            )
            rows.append((name, ", ".join(parts)))
    if totals["known_retries"]["receipts"]:
        retries = totals["known_retries"]
        rows.append(
            (
                "Of these, retries by the host",
                f"{count(retries['receipts'])}, {_if_known(totals, retries['saved_cost'])} of the savings",
            )
        )
    return [*rows, *_observed(totals)]


def _observed(totals: dict[str, Any]) -> list[tuple[str, str]]:
    """What serving would have saved, of the calls made in mode observe; in no other amount."""
    seen = totals["observed"]
    if not seen["receipts"]:
        return []
    share = percent(seen["would_hit"] / seen["receipts"])
    at_hand = f"{count(seen['would_hit'])} of {count(seen['receipts'])} calls ({share}) had an answer at hand"
    differ = f"{count(seen['answers_that_differ'])} of those differ from the backend's new one"
    return [("Observed, and would have saved", f"{_if_known(totals, seen['would_save'])}: {at_hand}; {differ}")]


def _moment(told: str | None) -> str:
    return "–" if told is None else told.replace("T", " ").removesuffix("Z")


def _standing(totals: dict[str, Any]) -> list[tuple[str, str]]:
    """CloudWatch's charge by the hour: of the whole period, in no receipt and so in no row and in no other amount."""
    charge = totals["custom_metrics"]["cost"]
    if charge is None:
        return []
    return [
        ("CloudWatch's metric charge", f"{money(charge)}, not in the own cost above"),
        ("Net savings less that charge", _if_known(totals, totals["net_savings"] - charge)),
    ]


def notes(report: Report) -> list[str]:
    """What a reader must know about how the numbers came about."""
    reading, found = report.reading, []
    dropped = (
        f"{count(reading['duplicates_dropped'])} duplicate lines dropped"
        if reading["duplicates_dropped"]
        else "no duplicate lines"
    )
    found.append(
        f"{count(reading['lines'])} lines read, {count(reading['receipts'])} receipts, {dropped} ({reading['de_duplication']})."
    )
    for key, text in (
        ("damaged_lines", "lines with a damaged receipt are not counted: fetch those logs again"),
        ("newer_schema", "receipts of a newer schema are not counted: update hookcache's command line"),
        ("without_request_id", "receipts without a request id could not be checked for duplicates"),
        ("outside_the_period", "receipts lie outside the period asked for"),
    ):
        if reading[key]:
            found.append(f"{count(reading[key])} {text}.")
    if not report.totals["counts_agree"]:
        found.append("Outcomes do not sum to the invocations: some receipts were written by something else.")
    return found


def text(report: Report, width: int | None = None) -> str:
    """Plain characters, for a terminal of this width; without one, as for a file, nothing is broken over lines."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    out = io.StringIO()
    console = Console(file=out, width=width or 1_000, highlight=False, emoji=False, markup=False)
    console.print(headline(report) + "\n")
    told = Table.grid(padding=(0, 2, 0, 0))
    told.add_column(max_width=None if console.width >= BESIDE_LABELS else 16, no_wrap=console.width >= BESIDE_LABELS)
    told.add_column(overflow="fold")
    for label, value in facts(report):
        told.add_row(label, value)
    if report.groups:
        console.print(Padding(told, (0, 0, 0, 2)))
        console.print()
        console.print(_table(report, console))
        for title, key in WORDS:
            if report.totals[key]:
                words = ", ".join(f"{word} {count(number)}" for word, number in report.totals[key].items())
                console.print(f"\n{title}: {words}")
        console.print()
    console.print("\n".join(notes(report)))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


BESIDE_LABELS = 55
"""Narrower terminals break the labels, or an amount would stand in two lines."""
WORDS = (("Why it missed, was bypassed or failed", "reasons"), ("Why answers were not kept", "refusals"))
COLUMNS = (
    ("requests", "invocations"),
    ("hits", "hits"),
    ("hit_ratio", "hit ratio"),
    ("cost_without_cache", "without cache"),
    ("cost_with_cache", "with cache"),
    ("own_cost", "own cost"),
    ("net_savings", "net savings"),
)
SPARED = ("own_cost", "hits", "requests", "cost_with_cache", "cost_without_cache")
"""What a terminal too narrow for all columns does without, first ones first; every format but text has all."""


def cells(amounts: dict[str, Any], columns: Sequence[tuple[str, str]] = COLUMNS) -> list[str]:
    shown = []
    for key, _ in columns:
        value = amounts[key]
        shown.append(
            percent(value)
            if key == "hit_ratio"
            else count(value)
            if key in {"requests", "hits"}
            else amount(amounts, key)
        )
    return shown


def _table(report: Report, console: Console) -> Table:
    """Rows and their total, with as many columns as fit."""
    kept = ([column for column in COLUMNS if column[0] not in SPARED[:number]] for number in range(len(SPARED) + 1))
    return fitting((_table_of(report, columns) for columns in kept), console)


def fitting(tables: Iterable[Table], console: Console) -> Table:
    """The first that is no wider than the console, else the last; the first one given has all columns."""
    from rich.measure import Measurement

    unbounded = console.options.update(max_width=1_000)
    for table in tables:
        if Measurement.get(console, unbounded, table).maximum <= console.width:
            break
    return table


def _table_of(report: Report, columns: Sequence[tuple[str, str]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column(report.by, footer="total", overflow="fold")
    for (_, title), total in zip(columns, cells(report.totals, columns), strict=True):
        table.add_column(title, footer=total, justify="right", no_wrap=True)
    for group in report.groups:
        table.add_row(group["group"], *cells(group, columns))
    return table


def to_csv(report: Report) -> str:
    """One line per group and one named `total`; units are columns, empty where a group has none."""
    rows = [*report.groups, {"group": "total"} | report.totals]
    units = [
        (f"{member}.{unit}", member, unit)
        for member in ("units_spent", "units_saved", "unpriced_units", "units_charged")
        for unit in report.totals[member]
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = list(report.totals["metrics"])
    writer.writerow([report.by, *CSV_AMOUNTS, *names, *(title for title, _, _ in units)])
    for row in rows:
        fixed = [_plain(row[key]) for key in CSV_AMOUNTS]
        metrics = [row["metrics"][name] for name in names]
        writer.writerow(
            [_cell(row["group"]), *fixed, *metrics, *(row[member].get(unit, "") for _, member, unit in units)]
        )
    return out.getvalue()


def _plain(value: float | None) -> str:
    """A number without an exponent: spreadsheets in some languages read `4e-06` as text."""
    if value is None or isinstance(value, int):
        return "" if value is None else str(value)
    return f"{value:.12f}".rstrip("0").rstrip(".")


def _cell(name: str) -> str:
    """A name that a spreadsheet cannot take for a formula."""
    return f"'{name}" if name[:1] in {"=", "+", "-", "@", "\t", "\r"} else name


def _amounts(units: dict[str, float]) -> str:
    return ", ".join(f"{count(amount)} {unit}" for unit, amount in units.items()) or "none"

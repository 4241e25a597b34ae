"""Checks of the host's price table: the wrapper is metered under its own name, so its rows must be there (4.4)."""

from __future__ import annotations

from collections.abc import Iterator

from hookcache.prices import FREE_UNITS
from hookcache.settings import PREFIX
from hookcache_ops.doctor.finding import Finding, error, warning
from hookcache_ops.doctor.patient import Patient


def prices(patient: Patient) -> Iterator[Finding]:
    """Both spellings of the row are there, hits are free, and every unit of the backend has its price."""
    if patient.price_rows is None:
        return
    rows, name = patient.price_rows, patient.name
    exact = f"lambda_hook/{name}"
    if exact not in rows:
        yield error(
            "price_row",
            f"the price table has no row {exact}: hosts that match names exactly price this function at nothing",
            f"add it: hookcache prices --function {name} --price-as ROW prints it",
        )
    if name not in rows:
        yield warning(
            "price_row_older_hosts",
            f"the price table has no row {name}, which hosts that match names by substring need",
            f"add it: hookcache prices --function {name} --price-as ROW prints it",
        )
    for row in (exact, name):
        if rows.get(row, {}).get("requests", 0) > 0:
            yield error(
                "price_of_requests",
                f"row {row} prices requests: every hit is charged",
                "remove requests from that row",
            )
    yield from _of_the_backend(patient)


def _of_the_backend(patient: Patient) -> Iterator[Finding]:
    charged_as = patient.settings.price_as if patient.settings is not None else ""
    if not charged_as or patient.price_rows is None:
        return
    if charged_as not in patient.price_rows:
        yield warning(
            "price_as_unknown",
            f"the price table has no row {charged_as}, which {PREFIX}PRICE_AS names: savings stay unpriced",
            f"correct {PREFIX}PRICE_AS, or add the row",
        )
        return
    wanted = {
        unit: price for unit, price in patient.price_rows[charged_as].items() if price > 0 and unit not in FREE_UNITS
    }
    for row in (f"lambda_hook/{patient.name}", patient.name):
        own = patient.price_rows.get(row)
        wrong = [] if own is None else sorted(unit for unit, price in wanted.items() if own.get(unit) != price)
        if wrong:
            yield warning(
                "price_units",
                f"row {row} does not price {', '.join(wrong)} as {charged_as} does",
                "copy the units and prices of that row",
            )

"""
Checks of prices: the host prices the function that it calls, so that name's rows must be there (4.4), and the function
itself must find the row that it charges the backend at.

    --prices TABLE       the host's own table: a row that is missing there is an error
    HOOKCACHE_PRICES     the table that the function reads; without the other, rows are looked for in it
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from decimal import Decimal
from functools import partial
from shlex import quote

from hookcache.errors import ConfigurationError
from hookcache.prices import FREE_UNITS, PriceTable, table_from
from hookcache.settings import PREFIX
from hookcache_ops.doctor.finding import Finding, Unseen, error, note, warning
from hookcache_ops.doctor.patient import Patient

Rows = Mapping[str, Mapping[str, Decimal]]


def prices(patient: Patient) -> Iterator[Finding]:
    """Both spellings of the row are there, hits are free, and every unit of the backend has its price."""
    if patient.price_rows is not None:
        yield from _of_the_host(patient, patient.price_rows)
    own = yield from _own_table(patient)
    if own is not None and patient.price_rows is None:
        yield from _of_the_host(patient, own.rows)
    charged = own.rows if own is not None else patient.price_rows
    if charged is not None:
        yield from _of_the_backend(patient, charged, patient.price_rows or charged)


def _own_table(patient: Patient) -> Generator[Finding, None, PriceTable | None]:
    """The findings about the table that the function reads; returns it, or None where there is none to read."""
    settings = patient.settings
    if settings is None:
        return None
    if not settings.prices:
        row = "" if settings.price_as else f", and the row that the backend is charged at in {PREFIX}PRICE_AS (PriceAs)"
        yield (warning if settings.price_as else note)(  # with neither there is nobody yet who asked for prices
            "prices_not_set",
            f"{PREFIX}PRICES is not set: every unit stays unpriced, and what is saved is not known in money",
            f"name the price table in {PREFIX}PRICES (template: PricesObject or PricesParameter){row}; an answer keeps the "
            "prices of the day it was stored, so do it first",
        )
        return None
    if not settings.price_as:
        yield warning(
            "price_as_not_set",
            f"{PREFIX}PRICES is set and {PREFIX}PRICE_AS is not: every unit stays unpriced",
            f"name the row that the backend is charged at in {PREFIX}PRICE_AS",
        )
    reference = settings.prices
    if not reference.startswith(("s3://", "ssm:")):
        if patient.price_rows is not None:
            return None
        raise Unseen(f"the price table {reference}", "it lies in the function's package; give it with --prices")
    clients = patient.ask.clients
    action = "s3:GetObject" if reference.startswith("s3://") else "ssm:GetParameter"
    try:
        read = partial(table_from, reference, partial(clients, "s3"), partial(clients, "ssm"))
        table = patient.ask.attempt(f"the price table {reference}", action, read)
    except (ConfigurationError, ValueError) as trouble:  # ValueError: no text, or s3:// without a key
        yield error(
            "price_table_format",
            f"{reference} is no price table, so every unit stays unpriced: {' '.join(str(trouble).split())[:200]}",
            f"correct it, and try it with hookcache prices --check {reference}",
        )
        return None
    if table is None:
        yield error(
            "price_table_missing",
            f"there is no {reference}, so every unit stays unpriced",
            f"put the table there, or correct {PREFIX}PRICES",
        )
    return table


def _of_the_host(patient: Patient, rows: Rows) -> Iterator[Finding]:
    name, exact = patient.name, f"lambda_hook/{patient.name}"
    charged_as, own = (patient.settings.price_as, patient.settings.prices) if patient.settings is not None else ("", "")
    table = own if own.startswith(("s3://", "ssm:")) else patient.price_file
    remedy = f"add it: hookcache prices --function {name} --price-as {charged_as or 'ROW'}{table and f' --prices {quote(table)}'} prints it"
    if patient.price_rows is None:
        remedy += "; if the host has another table, examine that with --prices"
    if exact not in rows:
        yield (warning if patient.price_rows is None else error)(
            "price_row",
            f"the price table has no row {exact}: hosts that match names exactly price this function at nothing",
            remedy,
        )
    if name not in rows:
        yield warning(
            "price_row_older_hosts",
            f"the price table has no row {name}, which hosts that match names by substring need",
            remedy,
        )
    for row in (exact, name):
        if rows.get(row, {}).get("requests", 0) > 0:
            yield error(
                "price_of_requests",
                f"row {row} prices requests: every hit is charged",
                "remove requests from that row",
            )


def _of_the_backend(patient: Patient, charged: Rows, host: Rows) -> Iterator[Finding]:
    charged_as = patient.settings.price_as if patient.settings is not None else ""
    if not charged_as:
        return
    if charged_as not in charged:
        yield warning(
            "price_as_unknown",
            f"the price table has no row {charged_as}, which {PREFIX}PRICE_AS names: savings stay unpriced",
            f"correct {PREFIX}PRICE_AS, or add the row",
        )
        return
    wanted = {unit: price for unit, price in charged[charged_as].items() if price > 0 and unit not in FREE_UNITS}
    for row in (f"lambda_hook/{patient.name}", patient.name):
        own = host.get(row)
        wrong = [] if own is None else sorted(unit for unit, price in wanted.items() if own.get(unit) != price)
        if wrong:
            yield warning(
                "price_units",
                f"row {row} does not price {', '.join(wrong)} as {charged_as} does",
                "copy the units and prices of that row",
            )

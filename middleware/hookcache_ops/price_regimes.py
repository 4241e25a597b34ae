"""
How the host prices what a function reports: three regimes, of which one deployment has one.

    A  substring   the row of that name, else the first whose name contains the service or is contained in it; units alike
    B  exact       the whole service, then ever shorter parts of it behind a `/`; units by exact name, absent ones are free
    C  exact, and  as B; an absent unit is free only if its count is 0 or it is declared free, else it is unpriced

The service is the metering key without its step: `lambda_hook/` and the function as the host spells it.
Source: the host's behaviour, "Three pricing regimes" (its PR #952 and issue #1212); which release has which is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

Rows = Mapping[str, Mapping[str, Decimal]]
DECLARED_FREE = {"lambda_hook": frozenset({"totalTokens", "requests"})}


class Regime(Enum):
    """The value says it in words, for findings."""

    SUBSTRING = "matches names by substring"
    EXACT = "matches names exactly"
    DECLARED = "matches names exactly and prices no undeclared unit"


@dataclass(frozen=True, slots=True)
class Charge:
    """What one unit costs: from which row and unit of the table, None where none matched; price None is unpriced."""

    row: str | None
    unit: str | None
    price: Decimal | None


def charge(regime: Regime, rows: Rows, service: str, unit: str, count: float) -> Charge:
    """The price that the host takes for `count` of `unit` reported by `service`."""
    if regime is Regime.SUBSTRING:
        return _by_substring(rows, service, unit)
    row = next((name for name in _suffixes(service) if name in rows), None)
    if row is None:
        return Charge(None, None, None)
    if unit in rows[row]:
        return Charge(row, unit, rows[row][unit])
    free = regime is Regime.EXACT or count == 0 or unit in DECLARED_FREE.get(row.partition("/")[0], frozenset())
    return Charge(row, None, Decimal(0) if free else None)


def _by_substring(rows: Rows, service: str, unit: str) -> Charge:
    row = service if service in rows else next((name for name in rows if name in service or service in name), None)
    if row is None:
        return Charge(None, None, Decimal(0))
    wanted = unit.lower()
    near = (name for name in rows[row] if name.lower() in wanted or wanted in name.lower())
    found = unit if unit in rows[row] else next(near, None)
    return Charge(row, found, Decimal(0) if found is None else rows[row][found])


def _suffixes(service: str) -> list[str]:
    parts = service.split("/")
    return ["/".join(parts[at:]) for at in range(len(parts))]

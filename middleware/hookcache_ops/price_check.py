"""A user's own price table against the wrapper: what each kind of host would charge wrongly or not at all, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hookcache.prices import FREE_UNITS
from hookcache_ops.price_regimes import Regime, charge

ANY_ARN = "arn:aws:lambda:REGION:ACCOUNT:function:"  # matches by substring as every function's own does
TOKEN_CEILING = Decimal("0.001")  # dearer than any model per token: such a price is meant per thousand or per million


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, where, and what to do."""

    text: str
    remedy: str

    def to_json(self) -> dict[str, str]:
        return {"finding": self.text, "remedy": self.remedy}


def check_rows(raw: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Mistakes of the table itself: rows written twice, prices that are no text, prices that are not for one token."""
    findings, met = [], set()
    for row in raw:
        name = str(row["name"])
        if name in met:
            findings.append(Finding(f"row {name} stands twice; hosts take the first or the last", "keep one of them"))
        met.add(name)
        for unit in row["units"]:
            price = unit["price"]
            if not isinstance(price, str):
                findings.append(
                    Finding(
                        f"the price of {unit['name']} in {name} is a number", f'write it in quotes: price: "{price}"'
                    )
                )
            if str(unit["name"]).endswith("Tokens") and Decimal(str(price)) > TOKEN_CEILING:
                findings.append(
                    Finding(
                        f"{unit['name']} in {name} costs {price} each", "give the price of one token, not of a thousand"
                    )
                )
    return findings


def check_function(
    rows: Mapping[str, Mapping[str, Decimal]], wanted: Mapping[str, Decimal], function: str, services: Iterable[str]
) -> list[Finding]:
    """
    What hosts of each regime would charge for the wrapper's units, against `wanted`, the prices they should take.

    `services` are the spellings of the wrapper in metering keys, without the step. Where none is an ARN, hosts that match by
    substring are asked about one all the same: it is what most of them meter.
    """
    findings = []
    full = f"lambda_hook/{function}"
    met = [(regime, service) for service in services for regime in Regime]
    if not any(":function:" in service for _, service in met):
        met.append((Regime.SUBSTRING, f"lambda_hook/{ANY_ARN}{function}"))
    for regime, service in met:
        findings += _charges(regime, rows, wanted, service, function)
    for name in (full, function):
        if "requests" in rows.get(name, {}) and rows[name]["requests"] > 0:
            findings.append(
                Finding(f"row {name} prices requests: every hit would be charged", "remove requests from that row")
            )
    if function in rows and full not in rows:
        text = f"row {function} without lambda_hook/ is not meant to be found by hosts that match names exactly"
        findings.append(Finding(text, f"add the row {full}"))
    return list(dict.fromkeys(findings))


def _charges(
    regime: Regime,
    rows: Mapping[str, Mapping[str, Decimal]],
    wanted: Mapping[str, Decimal],
    service: str,
    function: str,
) -> list[Finding]:
    found = {unit: charge(regime, rows, service, unit, 1) for unit in wanted}
    host = f"a host that {regime.value} and meters {service}"
    first = next(iter(found.values()), None)
    if first is None:
        return []
    row_needed = function if regime is Regime.SUBSTRING and service != f"lambda_hook/{function}" else service
    if first.row is None:
        return [Finding(f"{host} finds no row", f"add the row {row_needed}")]
    if first.row not in {service, function, f"lambda_hook/{function}"}:
        return [Finding(f"{host} takes the row {first.row}, which is another's", f"put the row {row_needed} before it")]
    findings = []
    for unit, taken in found.items():
        if taken.unit == unit:
            if taken.price != wanted[unit]:
                text = f"{host} takes {taken.price} for {unit}, not {wanted[unit]}"
                findings.append(Finding(text, f"correct {unit} in the row {taken.row}"))
        elif unit not in FREE_UNITS:
            what = (
                "leaves it unpriced"
                if taken.price is None
                else f"takes the price of {taken.unit}"
                if taken.unit
                else "takes it as free"
            )
            findings.append(Finding(f"{host} finds no {unit} and {what}", f"add {unit} to the row {taken.row}"))
    return findings

"""What units cost. Exact names, exact units: no price is `unpriced`, never 0 and never a neighbour's (P55)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

FREE_UNITS = frozenset({"totalTokens", "requests"})
"""Units that the host itself declares free for LambdaHook functions: sums and counts of what is priced elsewhere."""


def needs_price(unit: str, count: float) -> bool:
    """True for a unit that costs something if its price is known: it was used, and is not declared free."""
    return count > 0 and unit not in FREE_UNITS


@dataclass(frozen=True, slots=True)
class Prices:
    """The price of one of each unit of the backend's row, in the table's currency."""

    unit_prices: Mapping[str, Decimal] = field(default_factory=dict)

    def costs(self, units: Mapping[str, float]) -> dict[str, str]:
        """What each used unit costs, as decimal text; a unit without a price is absent."""
        return {
            unit: str(self.unit_prices[unit] * Decimal(str(count)))
            for unit, count in units.items()
            if count > 0 and unit in self.unit_prices
        }

    def total(self, units: Mapping[str, float]) -> tuple[Decimal, dict[str, float]]:
        """The cost of all that has a price, and the units that have none."""
        costs = self.costs(units)
        unpriced = {unit: count for unit, count in units.items() if needs_price(unit, count) and unit not in costs}
        return sum((Decimal(cost) for cost in costs.values()), Decimal(0)), unpriced

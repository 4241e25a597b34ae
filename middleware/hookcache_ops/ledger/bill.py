"""
What CloudWatch charges for our own metrics, which no receipt can know: it is a charge by the hour, not by the invocation.

A metric is a name in one value of one dimension set, here `[MeteringKey]` and `[Service]`. It is charged for each hour in
which it was written at all, at a monthly price spread over the month's hours. Prices: us-east-1, first 10,000 metrics,
estimates that go out of date (P56). Source: the public price page of Amazon CloudWatch, "Custom metrics".
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hookcache_ops.ledger.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcache_ops.receipts import Receipt

METRIC_MONTH = Decimal("0.30")
MONTH_HOURS = 730
HOUR_MS = 3_600_000
CELLS = 200_000  # (hour, dimension value) remembered, about 25 MB: a year of 20 functions; beyond, no sum is told

NOTED = 500  # what was noted of late, so that most receipts are done with one look

_BIT = {metric.name: 1 << at for at, metric in enumerate(METRICS)}


class MetricHours:
    """Counts the hours of metrics that receipts caused: each name once for each hour and dimension value."""

    def __init__(self) -> None:
        self._written: dict[str, dict[int, int]] = {}
        self._cells = 0
        self._names: dict[tuple[str, ...], int] = {}
        self._noted: set[tuple[str, str, int, int]] = set()
        self._complete = True

    def add(self, receipt: Receipt) -> None:
        hour, names = receipt.time_ms // HOUR_MS, tuple(receipt.metrics)
        bits = self._names.get(names)
        if bits is None:
            bits = sum(_BIT[name] for name in names)
            self._names[names] = bits
        key, service = str(receipt.members.get("MeteringKey")), str(receipt.members.get("Service"))
        seen = (key, service, hour, bits)
        if seen in self._noted:
            return
        if len(self._noted) >= NOTED:
            self._noted.clear()
        self._noted.add(seen)
        self._note(f"MeteringKey={key}", hour, bits)
        self._note(f"Service={service}", hour, bits)

    def _note(self, dimension: str, hour: int, bits: int) -> None:
        hours = self._written.get(dimension, {})
        if hour not in hours:
            if self._cells >= CELLS:
                self._complete = False
                return
            self._cells += 1
        hours[hour] = hours.get(hour, 0) | bits
        self._written[dimension] = hours

    def told(self) -> Mapping[str, Any]:
        """Metric-hours and their price; None for both where there were too many hours to remember, or none."""
        if not self._complete or not self._written:
            return {"metric_hours": None, "cost": None}
        hours = sum(bits.bit_count() for of_hour in self._written.values() for bits in of_hour.values())
        return {"metric_hours": hours, "cost": float(round(hours * METRIC_MONTH / MONTH_HOURS, 9))}

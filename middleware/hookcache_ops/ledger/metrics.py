"""
Every metric a receipt can carry: its name and CloudWatch unit. What each means stands in dashboards/README.md.

The list is the operator side's copy of what the runtime emits: tests hold it against dashboards/receipt.schema.json,
dashboards/README.md and the widgets, in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """`unit` is CloudWatch's: Count, Milliseconds or None (money, in the currency of the price table)."""

    name: str
    unit: str
    lean: bool = True  # written with every receipt; otherwise only when not zero

    @property
    def is_money(self) -> bool:
        return self.unit == "None"

    @property
    def is_time(self) -> bool:
        return self.unit == "Milliseconds"


METRICS: tuple[Metric, ...] = (
    Metric("Requests", "Count"),
    Metric("MemoryHits", "Count"),
    Metric("TableHits", "Count"),
    Metric("Collapsed", "Count"),
    Metric("Misses", "Count"),
    Metric("Bypasses", "Count"),
    Metric("Failures", "Count"),
    Metric("InputTokens", "Count"),
    Metric("OutputTokens", "Count"),
    Metric("Pages", "Count"),
    Metric("SavedInputTokens", "Count"),
    Metric("SavedOutputTokens", "Count"),
    Metric("SavedPages", "Count"),
    Metric("Cost", "None"),
    Metric("SavedCost", "None"),
    Metric("OwnCost", "None"),
    Metric("Latency", "Milliseconds"),
    Metric("BackendLatency", "Milliseconds", lean=False),
    Metric("LookupLatency", "Milliseconds"),
    Metric("TableErrors", "Count", lean=False),
    Metric("ImageErrors", "Count", lean=False),
    Metric("Refusals", "Count", lean=False),
    Metric("LeaseLost", "Count", lean=False),
    Metric("CorruptEntries", "Count", lean=False),
    Metric("Unpriced", "Count", lean=False),
)

BY_NAME = {metric.name: metric for metric in METRICS}
HIT_METRICS = ("MemoryHits", "TableHits", "Collapsed")
OUTCOME_METRICS = (*HIT_METRICS, "Misses", "Bypasses", "Failures")

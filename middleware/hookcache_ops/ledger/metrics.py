"""
Every metric a receipt can carry: name, CloudWatch unit, meaning and the equation it takes part in.

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
    meaning: str
    lean: bool = True  # written with every receipt; otherwise only when not zero

    @property
    def is_money(self) -> bool:
        return self.unit == "None"

    @property
    def is_time(self) -> bool:
        return self.unit == "Milliseconds"


METRICS: tuple[Metric, ...] = (
    Metric("Requests", "Count", "Invocations: MemoryHits + TableHits + Collapsed + Misses + Bypasses + Failures"),
    Metric("MemoryHits", "Count", "Answered from the memory of the execution environment"),
    Metric("TableHits", "Count", "Answered from DynamoDB (large answers: S3)"),
    Metric("Collapsed", "Count", "Answered by the fetch of another caller that was already under way"),
    Metric("Misses", "Count", "The backend was called and the cache was in use (also stale, refresh and observe)"),
    Metric("Bypasses", "Count", "The backend was called and the cache was not in use, for a stated reason"),
    Metric("Failures", "Count", "The invocation raised: the backend's error, a time limit, or a shared failure"),
    Metric("InputTokens", "Count", "Input tokens that the backend reported for calls made in these invocations"),
    Metric("OutputTokens", "Count", "Output tokens that the backend reported for calls made in these invocations"),
    Metric("Pages", "Count", "Pages that the backend reported for calls made in these invocations"),
    Metric("SavedInputTokens", "Count", "Input tokens of answers served without a backend call"),
    Metric("SavedOutputTokens", "Count", "Output tokens of answers served without a backend call"),
    Metric("SavedPages", "Count", "Pages of answers served without a backend call"),
    Metric("Cost", "None", "Price of the units spent; units without a price are left out and counted in Unpriced"),
    Metric("SavedCost", "None", "Price of the units saved, frozen when the answer was stored (P55)"),
    Metric("OwnCost", "None", "What hookcache itself used, at configured prices: an estimate (P56)"),
    Metric("Latency", "Milliseconds", "The whole invocation as hookcache sees it"),
    Metric("BackendLatency", "Milliseconds", "The backend call, in the receipts of those that made one", lean=False),
    Metric(
        "LookupLatency",
        "Milliseconds",
        "Latency less BackendLatency: image digests, key, look-ups, waiting for another fetch, storing",
    ),
    Metric("TableErrors", "Count", "Table operations without a usable reply", lean=False),
    Metric("ImageErrors", "Count", "Images that could not be read whole", lean=False),
    Metric("Refusals", "Count", "Answers passed on and not kept, for a stated reason", lean=False),
    Metric("LeaseLost", "Count", "Leases taken over while their holder was at work", lean=False),
    Metric("CorruptEntries", "Count", "Entries whose tag, key or body disagreed", lean=False),
    Metric("Unpriced", "Count", "Invocations with a unit that has no price; `unpriced_units` names it", lean=False),
)

BY_NAME = {metric.name: metric for metric in METRICS}
HITS = ("MemoryHits", "TableHits", "Collapsed")
OUTCOME_METRICS = (*HITS, "Misses", "Bypasses", "Failures")

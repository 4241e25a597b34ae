"""What the documented table of CloudWatch's charges is computed from: one wrapper that is used in every hour of a month."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from hookcache_ops.ledger.bill import METRIC_MONTH
from hookcache_ops.ledger.metrics import METRICS

LOG_BYTE = Decimal("5.0E-10")
RECEIPT_BYTES = 2_000

BUSY = sum(metric.lean or metric.name == "BackendLatency" for metric in METRICS)
"""Metrics of a dimension value in an hour that had a hit and a call to the backend, and no trouble."""


@dataclass(frozen=True, slots=True)
class MonthlyBill:
    """USD a month."""

    metrics: int
    custom_metrics: Decimal
    receipts: Decimal


def monthly_bill(steps: int, invocations: int = 0) -> MonthlyBill:
    """The charge for a wrapper that `steps` of the host use; health metrics add to it in hours that have trouble."""
    metrics = BUSY * (steps + 1)
    return MonthlyBill(metrics, metrics * METRIC_MONTH, invocations * RECEIPT_BYTES * LOG_BYTE)

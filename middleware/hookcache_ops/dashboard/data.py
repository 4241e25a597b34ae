"""What a page carries: rows of the ledger and of the tables in a compact form, and the widgets compiled for its script."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hookcache_ops.dashboard.body import Line, Widget
from hookcache_ops.dashboard.tables import Table
from hookcache_ops.ledger.book import CHECKED, PICO, WIDTHS, Ledger, Sums
from hookcache_ops.ledger.histogram import FLOOR_MS, RATIO, Histogram, merged
from hookcache_ops.ledger.metrics import METRICS
from hookcache_ops.ledger.summary import Report
from hookcache_ops.receipts import Receipt

ROW_LIMIT = 6_000  # rows of (bucket, step, function, outcome) in a page: about 1 MB, whatever the number of receipts
SCHEMA = 1


class Collector:
    """Takes each receipt once, for the charts and for every table."""

    def __init__(self, widgets: Iterable[Widget], row_limit: int = ROW_LIMIT) -> None:
        self.widgets = list(widgets)
        self.ledger = Ledger(WIDTHS[0], row_limit)
        self.tables = {at: Table(widget.plan) for at, widget in enumerate(self.widgets) if widget.plan is not None}

    def add(self, receipt: Receipt) -> None:
        self.ledger.add(receipt)
        for table in self.tables.values():
            table.add(receipt)

    def page_data(self, report: Report) -> dict[str, Any]:
        """Everything the page's script needs; JSON. `report` tells how the receipts were read."""
        for table in self.tables.values():
            table.widen(self.ledger.width_seconds)
        names: dict[str, list[str]] = {
            kind: sorted({getattr(key, kind) for key in self.ledger.rows}) for kind in ("step", "function", "outcome")
        }
        return {
            "schema": SCHEMA,
            "period": report.period,
            "reading": report.reading,
            "metrics_charge": report.totals["custom_metrics"]["cost"],
            "width": self.ledger.width_seconds,
            "widths": WIDTHS,
            "histogram": {"floor": FLOOR_MS, "ratio": RATIO},
            "metrics": [[metric.name, metric.unit] for metric in METRICS],
            "steps": names["step"],
            "functions": names["function"],
            "outcomes": names["outcome"],
            "lean": sum(metric.lean for metric in METRICS),  # these come first, and are 0 rather than absent
            "rows": self._rows(names),
            "widgets": [_compiled(widget) | self._table_rows(at, names) for at, widget in enumerate(self.widgets)],
        }

    def _rows(self, names: dict[str, list[str]]) -> list[list[Any]]:
        width = self.ledger.width_seconds
        rows = []
        for key, sums in sorted(self.ledger.rows.items()):
            place = [
                key.start // width,
                *(names[kind].index(getattr(key, kind)) for kind in ("step", "function", "outcome")),
            ]
            rows.append([*place, sums.receipts, _metrics(sums), _times(sums), _units(sums)])
        return rows

    def _table_rows(self, at: int, names: dict[str, list[str]]) -> dict[str, Any]:
        table = self.tables.get(at)
        if table is None:
            return (
                {}
                if self.widgets[at].plan is None
                else {"rows": [], "width": WIDTHS[0], "uncertain": 0, "unknown": True}
            )
        rows = [
            [
                group,
                start // table.width_seconds,
                names["step"].index(step),
                names["function"].index(function),
                [_state(v) for v in values],
            ]
            for group, (start, step, function), values in table.rows()
            if step in names["step"] and function in names["function"]
        ]
        return {"rows": rows, "width": table.width_seconds, "uncertain": table.uncertain}


def _metrics(sums: Sums) -> dict[int, float]:
    """By the metric's number; money in units of the currency."""
    found = {}
    for at, metric in enumerate(METRICS):
        value = sums.metrics.get(metric.name, 0)
        if value:
            found[at] = value / PICO if metric.is_money else int(value) if value == int(value) else value
    return found


def _times(sums: Sums) -> dict[int, list[Any]]:
    """By the metric's number; those of hits that a truth check compared are among them, as they are in CloudWatch's."""
    found = {}
    for at, metric in enumerate(METRICS):
        kept = [sums.times[name] for name in (metric.name, CHECKED + metric.name) if name in sums.times]
        if kept:
            found[at] = packed(merged(kept))
    return found


def packed(histogram: Histogram) -> list[Any]:
    """[count, sum, smallest, largest, bin, count in it, ...]"""
    bins = [number for pair in sorted(histogram.bins.items()) for number in pair]
    return [
        histogram.count,
        round(histogram.total, 3),
        round(histogram.smallest, 4),
        round(histogram.largest, 4),
        *bins,
    ]


def _units(sums: Sums) -> list[dict[str, float]]:
    return [
        {unit: round(amount, 9) for unit, amount in sums.units[member].items() if amount} for member in UNIT_MEMBERS
    ]


UNIT_MEMBERS = ("units_spent", "units_saved", "unpriced_units", "units_charged")


def _state(value: Any) -> Any:
    if isinstance(value, Histogram):
        return packed(value) if value.count else [0, 0, 0, 0]
    return value


def _compiled(widget: Widget) -> dict[str, Any]:
    plan = widget.plan
    return {
        "title": widget.title,
        "view": widget.view,
        "place": [widget.x, widget.y, widget.width, widget.height],
        "period": widget.period,
        "lines": [_line(line) for line in widget.lines],
        "axis": widget.axis,
        "thresholds": [list(mark) for mark in widget.thresholds],
        "markdown": widget.markdown,
    } | (
        {}
        if plan is None
        else {
            "by": plan.by,
            "columns": [[a.kind, a.name, a.percent, a.field] for a in plan.aggregates],
            "sort": [*plan.by, *(a.name for a in plan.aggregates)].index(plan.sort),
            "descending": plan.descending,
            "limit": plan.limit,
        }
    )


def _line(line: Line) -> dict[str, Any]:
    common = {"id": line.id, "label": line.label, "visible": line.visible, "color": line.color}
    if line.tree is not None:
        return common | {"tree": line.tree}
    return common | {"metric": line.metric, "stat": line.stat, "step": line.step, "function": line.function}

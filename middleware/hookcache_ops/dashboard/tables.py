"""The tables of a dashboard, filled from receipts as they pass: grouped, additive by time, and bounded."""

from __future__ import annotations

from typing import Any

from hookcache_ops.dashboard.log_query import Aggregate, Plan, reader_of
from hookcache_ops.ledger.book import WIDTHS
from hookcache_ops.ledger.histogram import Histogram
from hookcache_ops.receipts import Receipt

GROUPS = 4_000  # groups kept while reading; beyond, the rarest make room
CELLS = 60_000  # cells of (group, bucket, step, function) kept; beyond, buckets grow
SHOWN = 3  # times the table's own limit: what the page keeps, so that a filter still finds rows to show


class Table:
    """
    One query's groups. Exact while there are at most GROUPS of them; otherwise the rarest are dropped now and then, and
    `uncertain` bounds by how much a count may be too low (a popular page is never missed).
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.width_seconds = WIDTHS[0]
        self.uncertain = 0
        self._by = [reader_of(name) for name in plan.by]
        self._read = [(aggregate, reader_of(aggregate.field)) for aggregate in plan.aggregates]
        self._groups: dict[tuple[str, ...], dict[tuple[int, str, str], list[Any]]] = {}
        self._cells = 0

    def add(self, receipt: Receipt) -> None:
        members = receipt.members
        if not self.plan.test(members):
            return
        group = tuple(_text(read(members)) for read in self._by)
        cells = self._groups.get(group)
        if cells is None:
            cells = self._groups[group] = {}
            if len(self._groups) > 2 * GROUPS:
                self._prune()
                cells = self._groups.setdefault(group, {})
        seconds = receipt.time_ms // 1000
        at = (seconds - seconds % self.width_seconds, receipt.step, receipt.function)
        cell = cells.get(at)
        if cell is None:
            cell = cells[at] = [0, *(_empty(aggregate) for aggregate in self.plan.aggregates)]
            self._cells += 1
            if self._cells > CELLS:
                self._coarsen()
                cell = self._groups[group][(seconds - seconds % self.width_seconds, *at[1:])]
        cell[0] += 1
        for index, (aggregate, read) in enumerate(self._read, 1):
            cell[index] = (
                cell[index] + 1 if aggregate.field == "*" else _added(aggregate.kind, cell[index], read(members))
            )

    def rows(self) -> list[tuple[tuple[str, ...], tuple[int, str, str], list[Any]]]:
        """(group, (bucket, step, function), values) of the groups worth showing; values merge by `merged`."""
        ranked = sorted(self._groups, key=lambda group: (-_count(self._groups[group]), group))
        kept = ranked[: self.plan.limit * SHOWN]
        return [(group, at, cell[1:]) for group in kept for at, cell in sorted(self._groups[group].items())]

    def _prune(self) -> None:
        ranked = sorted(self._groups, key=lambda group: -_count(self._groups[group]))
        self.uncertain += _count(self._groups[ranked[GROUPS]])
        self._groups = {group: self._groups[group] for group in ranked[:GROUPS]}
        self._cells = sum(len(cells) for cells in self._groups.values())

    def _coarsen(self) -> None:
        while self._cells > CELLS and self.width_seconds < WIDTHS[-1]:
            self.widen(next(width for width in WIDTHS if width > self.width_seconds))
        if self._cells > CELLS:  # as wide as it gets: only fewer groups help
            self._prune()

    def widen(self, width_seconds: int) -> None:
        """Merge buckets into wider ones; a width that is no wider changes nothing."""
        if width_seconds <= self.width_seconds:
            return
        self.width_seconds = width_seconds
        for group, cells in self._groups.items():
            wider: dict[tuple[int, str, str], list[Any]] = {}
            for (start, step, function), cell in cells.items():
                at = (start - start % width_seconds, step, function)
                old = wider.get(at)
                wider[at] = cell if old is None else _merged(self.plan.aggregates, old, cell)
            self._groups[group] = wider
        self._cells = sum(len(cells) for cells in self._groups.values())


def _count(cells: dict[tuple[int, str, str], list[Any]]) -> int:
    return sum(cell[0] for cell in cells.values())


def _text(value: Any) -> str:
    return "–" if value is None else str(value)


def _empty(aggregate: Aggregate) -> Any:
    if aggregate.kind == "pct":
        return Histogram()
    return [0.0, 0] if aggregate.kind == "avg" else None if aggregate.kind in {"min", "max"} else 0


def _added(kind: str, state: Any, value: Any) -> Any:
    if kind == "count":
        return state + (value is not None)
    if not isinstance(value, int | float):
        return state
    if kind == "pct":
        state.add(value)
        return state
    return _joined(kind, state, [value, 1] if kind == "avg" else value)


def _merged(aggregates: tuple[Aggregate, ...], one: list[Any], other: list[Any]) -> list[Any]:
    pairs = zip(aggregates, one[1:], other[1:], strict=True)
    return [one[0] + other[0], *(_joined(aggregate.kind, a, b) for aggregate, a, b in pairs)]


def _joined(kind: str, one: Any, other: Any) -> Any:
    if kind == "pct":
        one.merge(other)
        return one
    if kind == "avg":
        return [one[0] + other[0], one[1] + other[1]]
    if kind in {"min", "max"}:
        present = [value for value in (one, other) if value is not None]
        return (min if kind == "min" else max)(present) if present else None
    return one + other

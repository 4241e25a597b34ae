"""The ledger: receipts added into rows of (time bucket, step, function, outcome), few enough to keep and exact in sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hookcache_ops.ledger.bill import MetricHours
from hookcache_ops.ledger.histogram import Histogram
from hookcache_ops.ledger.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hookcache_ops.receipts import Receipt

PICO = 10**12  # money is summed in whole picounits of the currency: any order of receipts gives the same total
NAMES = 200  # steps, functions and reasons are small closed sets (P35); what a wrong log adds beyond this is one name
OTHER = "(other)"
DAY_SECONDS = 86_400
WIDTHS = (1, 5, 15, 60, 300, 900, 3_600, 10_800, 21_600, 43_200, DAY_SECONDS, 7 * DAY_SECONDS, 28 * DAY_SECONDS)

CHECKED = "Checked"
"""What stands before the name of a time, of hits that a truth check compared with a new answer: those are kept apart."""

_MONEY = frozenset(metric.name for metric in METRICS if metric.is_money)
_TIMES = frozenset(metric.name for metric in METRICS if metric.is_time)
_NUMBER = (int, float)
_UNIT_MEMBERS = frozenset({"units_spent", "units_saved", "unpriced_units", "own_units", "units_charged"})


class RowKey(NamedTuple):
    """`start` is the beginning of the bucket in epoch seconds, UTC."""

    start: int
    step: str
    function: str
    outcome: str


class Sums:
    """What a set of receipts adds up to. Money is held in picounits (`PICO`)."""

    __slots__ = (
        "by_reason",
        "cold_starts",
        "metrics",
        "observed",
        "receipts",
        "replays",
        "replays_saved",
        "times",
        "units",
    )

    def __init__(self) -> None:
        self.receipts = 0
        self.metrics: dict[str, float] = {}
        self.times: dict[str, Histogram] = {}
        self.units: dict[str, dict[str, float]] = {name: {} for name in _UNIT_MEMBERS}
        self.by_reason: dict[tuple[str, str], int] = {}
        self.cold_starts = 0
        self.replays = 0
        self.replays_saved = 0
        self.observed: dict[str, float] = {}

    def add(self, receipt: Receipt) -> None:
        self.receipts += 1
        metrics, members = self.metrics, receipt.members
        for name, value in receipt.metrics.items():
            if value and name not in _TIMES:  # most are 0
                amount = round(value * PICO) if name in _MONEY else value
                if name in metrics:
                    metrics[name] += amount
                else:
                    metrics[name] = amount
        self._add_times(receipt)
        for member in _UNIT_MEMBERS & members.keys():
            amounts = members[member]
            if amounts:
                self._add_units(self.units[member], amounts)
        self._add_words(members)
        if members.get("cold_start"):
            self.cold_starts += 1
        self._add_apart(receipt)

    def _add_apart(self, receipt: Receipt) -> None:
        if receipt.members.get("replay"):
            self._add_replay(receipt)
        if receipt.outcome == "observe":
            self._add_observed(receipt)

    def _add_times(self, receipt: Receipt) -> None:
        kind = CHECKED if receipt.members.get("check") else ""  # most of its time went into the check's own call (P59)
        for name in _TIMES & receipt.metrics.keys():
            times = self.times.get(kind + name)
            if times is None:
                times = self.times[kind + name] = Histogram()
            times.add(receipt.metrics[name])

    def _add_replay(self, receipt: Receipt) -> None:
        """A retry of the host that we recognised: its saving is real and is shown apart (P57)."""
        self.replays += 1
        self.replays_saved += round(receipt.metrics.get("SavedCost", 0) * PICO)

    def _add_observed(self, receipt: Receipt) -> None:
        """A call in mode observe: had the cache served, one with an answer at hand would not have been made (P50)."""
        hit = bool(receipt.members.get("would_hit"))
        saved = round(receipt.metrics.get("Cost", 0) * PICO) if hit else 0
        differs = hit and receipt.members.get("agrees") is False
        _merge(self.observed, {"receipts": 1, "would_hit": hit, "would_save": saved, "differs": differs})

    def merge(self, other: Sums) -> None:
        self.receipts += other.receipts
        _merge(self.metrics, other.metrics)
        for name, times in other.times.items():
            self.times.setdefault(name, Histogram()).merge(times)
        for member, amounts in other.units.items():
            _merge(self.units[member], amounts)
        for key, count in other.by_reason.items():
            self._count_word(key, count)
        self.cold_starts += other.cold_starts
        self.replays += other.replays
        self.replays_saved += other.replays_saved
        _merge(self.observed, other.observed)

    def count(self, name: str) -> float:
        """The sum of a count metric; whole numbers come as int."""
        value = self.metrics.get(name, 0)
        return int(value) if value == int(value) else value

    def _add_words(self, members: Mapping[str, object]) -> None:
        for kind in ("reason", "refusal"):
            word = members.get(kind)
            if word:
                self._count_word((kind, str(word)), 1)

    def _count_word(self, key: tuple[str, str], count: int) -> None:
        if key not in self.by_reason and len(self.by_reason) >= NAMES:
            key = (key[0], OTHER)
        self.by_reason[key] = self.by_reason.get(key, 0) + count

    def _add_units(self, into: dict[str, float], amounts: object) -> None:
        if not isinstance(amounts, dict):
            return
        for unit, amount in amounts.items():
            if isinstance(amount, _NUMBER) and 0 <= amount < 1e18:
                if unit in into:
                    into[unit] += amount
                else:
                    name = unit if len(into) < NAMES else OTHER
                    into[name] = into.get(name, 0) + amount


class Ledger:
    """
    Rows of receipts. With `row_limit`, buckets grow (1 second ... 4 weeks) as often as needed to stay within it.

    Memory is bounded by the number of rows; `totals()` does not depend on widths or order.
    """

    def __init__(self, width_seconds: int = DAY_SECONDS, row_limit: int | None = None) -> None:
        self.width_seconds = width_seconds
        self.rows: dict[RowKey, Sums] = {}
        self.metric_hours = MetricHours()
        self._row_limit = row_limit
        self._known: dict[str, set[str]] = {"step": set(), "function": set(), "outcome": set()}
        self.first_ms: int | None = None
        self.last_ms: int | None = None

    def add(self, receipt: Receipt) -> None:
        time_ms = receipt.time_ms
        self._note(time_ms)
        self.metric_hours.add(receipt)
        seconds = time_ms // 1000
        key = RowKey(seconds - seconds % self.width_seconds, receipt.step, receipt.function, receipt.outcome)
        sums = self.rows.get(key)
        if sums is None:
            sums = self._open(key)
        sums.add(receipt)

    def put(self, key: RowKey, sums: Sums) -> None:
        """A whole row, from a source that has sums and no receipts; its bucket is one of this ledger's."""
        self._note(key.start * 1000)
        self.rows.setdefault(key, Sums()).merge(sums)

    def totals(self) -> Sums:
        """The sums over everything."""
        return self.grouped(lambda _key: "all").get("all") or Sums()

    def grouped(self, name_of: Callable[[RowKey], str]) -> dict[str, Sums]:
        """The sums by whatever `name_of` reads from a row's key, in the order of the names."""
        groups: dict[str, Sums] = {}
        for key, sums in self.rows.items():
            groups.setdefault(name_of(key), Sums()).merge(sums)
        return dict(sorted(groups.items()))

    def _note(self, time_ms: int) -> None:
        if self.first_ms is None or time_ms < self.first_ms:
            self.first_ms = time_ms
        if self.last_ms is None or time_ms > self.last_ms:
            self.last_ms = time_ms

    def _open(self, key: RowKey) -> Sums:
        key = RowKey(
            key.start,
            self._bounded("step", key.step),
            self._bounded("function", key.function),
            self._bounded("outcome", key.outcome),
        )
        sums = self.rows.setdefault(key, Sums())
        if self._row_limit is not None:
            while len(self.rows) > self._row_limit and self.width_seconds < WIDTHS[-1]:
                self._coarsen()
                # The row just opened was merged away while still empty: find its successor.
                start = key.start - key.start % self.width_seconds
                sums = self.rows[key._replace(start=start)]
        return sums

    def _bounded(self, kind: str, name: str) -> str:
        known = self._known[kind]
        if name not in known and len(known) >= NAMES:
            return OTHER
        known.add(name)
        return name

    def _coarsen(self) -> None:
        self.width_seconds = next(width for width in WIDTHS if width > self.width_seconds)
        rows, self.rows = self.rows, {}
        for key, sums in rows.items():
            wider = key._replace(start=key.start - key.start % self.width_seconds)
            self.rows.setdefault(wider, Sums()).merge(sums)


def fill(ledger: Ledger, receipts: Iterable[Receipt]) -> Ledger:
    for receipt in receipts:
        ledger.add(receipt)
    return ledger


def _merge(into: dict[str, float], amounts: dict[str, float]) -> None:
    for name, value in amounts.items():
        into[name] = into.get(name, 0) + value

"""What a set of receipts says about money and use: the one place where ratios and differences are formed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hookcache_ops.ledger.book import CHECKED, PICO, Ledger, RowKey, Sums
from hookcache_ops.ledger.histogram import Histogram, merged
from hookcache_ops.ledger.metrics import HIT_METRICS, METRICS, OUTCOME_METRICS
from hookcache_ops.receipts import HITS
from hookcache_ops.times import spelt

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcache_ops.receipts import Reading

SCHEMA = 1
BY = ("day", "step", "function", "outcome")
BACKEND_OUTCOMES = frozenset({"miss", "stale", "refresh", "observe", "bypass"})


@dataclass(frozen=True, slots=True)
class Report:
    """A period told once as a whole and once by `by`; `to_json` is the stable form (schema 1)."""

    by: str
    totals: dict[str, Any]
    groups: list[dict[str, Any]]
    reading: dict[str, Any]
    period: dict[str, str | None]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "currency_note": "prices are the deployer's own; every amount of money is an estimate",
            "period": self.period,
            "by": self.by,
            "totals": self.totals,
            "groups": self.groups,
            "reading": self.reading,
        }


def summarise(ledger: Ledger, reading: Reading, by: str) -> Report:
    """The report of everything in the ledger, told by one of BY."""
    whole = ledger.totals()
    name_of = _name_by(by)
    rows, latency_of = ledger.grouped(name_of), _latencies(ledger, name_of)
    totals = amounts(whole) | _latencies(ledger, lambda _key: "all").get("all", {})
    totals["custom_metrics"] = dict(ledger.metric_hours.told())
    groups = [{"group": name} | amounts(sums) | latency_of.get(name, {}) for name, sums in rows.items()]
    moments = {"first": ledger.first_ms, "last": ledger.last_ms}
    period = {name: None if time_ms is None else spelt(time_ms) for name, time_ms in moments.items()}
    return Report(by, totals, groups, _reading(reading), period)


def amounts(sums: Sums) -> dict[str, Any]:
    """
    Counts, units and money of a set of receipts.

    hit ratio            hits / all invocations, bypasses and failures below the line (P57)
    cost_with_cache      cost of the units spent + own cost
    cost_without_cache   cost of the units spent + cost of the units saved
    net_savings          cost_without_cache - cost_with_cache = saved - own

    Units without a price are in none of the three; they stand in `unpriced_units` by name (P55). Where there is no
    other unit `cost_unknown` is true, and only own_cost is an amount. `units_charged` are those that hits returned to the host
    on purpose (`usage_on_hit=original`, P32): in the host's sums, and in no amount here.
    """
    requests = sums.count("Requests")
    hits = sum(sums.count(name) for name in HIT_METRICS)
    picos = {name: sums.metrics.get(name, 0) for name in ("Cost", "SavedCost", "OwnCost")}
    cost, saved, own = picos["Cost"], picos["SavedCost"], picos["OwnCost"]
    unpriced = _units(sums, "unpriced_units")  # CloudWatch's own metrics name none, and count `Unpriced`
    return {
        "receipts": sums.receipts,
        "requests": requests,
        "hits": hits,
        "hit_ratio": round(hits / requests, 6) if requests else None,
        "outcomes": {name: sums.count(name) for name in OUTCOME_METRICS},
        "counts_agree": requests == sum(sums.count(name) for name in OUTCOME_METRICS),
        "metrics": {m.name: sums.count(m.name) for m in METRICS if m.unit == "Count"},
        "cost_unknown": bool(unpriced or sums.count("Unpriced")) and not (cost or saved),
        "cost": cost / PICO,
        "saved_cost": saved / PICO,
        "own_cost": own / PICO,
        "net_savings": (saved - own) / PICO,
        "cost_with_cache": (cost + own) / PICO,
        "cost_without_cache": (cost + saved) / PICO,
        "units_spent": _units(sums, "units_spent"),
        "units_saved": _units(sums, "units_saved"),
        "unpriced_units": unpriced,
        "own_units": _units(sums, "own_units"),
        "units_charged": _units(sums, "units_charged"),
        "reasons": _words(sums, "reason"),
        "refusals": _words(sums, "refusal"),
        "cold_starts": sums.cold_starts,
        "known_retries": {"receipts": sums.replays, "saved_cost": sums.replays_saved / PICO},
        "observed": {
            "receipts": sums.observed.get("receipts", 0),
            "would_hit": sums.observed.get("would_hit", 0),
            "would_save": sums.observed.get("would_save", 0) / PICO,
            "answers_that_differ": sums.observed.get("differs", 0),
        },
    }


def latency(histogram: Histogram) -> dict[str, float]:
    """Milliseconds; percentiles within 2 %, the rest exact."""
    found = {"count": histogram.count, "average": histogram.average, "maximum": histogram.largest}
    found |= {f"p{percent}": histogram.percentile(percent) for percent in (50, 90, 99)}
    return {name: round(value, 3) for name, value in found.items()}


def _latencies(ledger: Ledger, name_of: Callable[[RowKey], str]) -> dict[str, dict[str, Any]]:
    """Latency of hits, of hits that were checked by a call, and of calls to the backend, by group."""
    kinds: dict[str, dict[str, list[Histogram]]] = {}
    for key, sums in ledger.rows.items():
        kind = "hit" if key.outcome in HITS else "backend" if key.outcome in BACKEND_OUTCOMES else None
        for name, told in (("Latency", kind), (f"{CHECKED}Latency", "checked_hit")):
            times = sums.times.get(name)
            if times is not None and told is not None:
                kinds.setdefault(name_of(key), {}).setdefault(told, []).append(times)
    return {
        name: {"latency_ms": {kind: latency(merged(parts)) for kind, parts in sorted(found.items())}}
        for name, found in kinds.items()
    }


def _name_by(by: str) -> Callable[[RowKey], str]:
    def name_of(key: RowKey) -> str:
        if by == "day":
            return datetime.fromtimestamp(key.start, UTC).date().isoformat()
        return str(getattr(key, by))

    return name_of


def _units(sums: Sums, member: str) -> dict[str, float]:
    found = sorted(sums.units[member].items())
    return {unit: int(amount) if amount == int(amount) else round(amount, 9) for unit, amount in found if amount}


def _words(sums: Sums, kind: str) -> dict[str, int]:
    found = [(word, count) for (of_kind, word), count in sums.by_reason.items() if of_kind == kind]
    return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "sources": len(reading.sources),
        "lines": reading.lines,
        "receipts": reading.receipts,
        "duplicates_dropped": reading.duplicates,
        "de_duplication": reading.de_duplication,
        "without_request_id": reading.without_id,
        "outside_the_period": reading.out_of_range,
        "other_lines": reading.other_lines,
        "damaged_lines": reading.damaged,
        "newer_schema": reading.newer_schema,
    }

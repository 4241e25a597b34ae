"""A verdict as text for a terminal, and as JSON."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from hookcache.outcome import Outcome
from hookcache_ops.ledger.render import UNKNOWN, count, fitting, millis, money, percent
from hookcache_ops.output import block
from hookcache_ops.simulate.verdict import disagreement, figures
from hookcache_ops.simulate.whatifs import UNTRACED, mebibytes, never_seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hookcache_ops.simulate.curve import Point
    from hookcache_ops.simulate.deployed import Deployed
    from hookcache_ops.simulate.log import Log
    from hookcache_ops.simulate.sampling import Figure
    from hookcache_ops.simulate.verdict import Verdict

SCHEMA = 1
AGREES = 0.02
_TIERS = (("memory", Outcome.HIT_MEMORY), ("table", Outcome.HIT_TABLE), ("collapsed", Outcome.COLLAPSED))
COLUMNS = ("hit ratio", *(name for name, _ in _TIERS), "backend calls", "net savings", "gain", "mean", "p50", "p99")
SPARED = ("collapsed", "table", "memory", "mean", "p50", "p99", "net savings", "backend calls")
"""What a terminal too narrow for all columns does without, first ones first; the page and JSON have all."""
BESIDE_BARS = 55
"""Columns that the curve needs beside its bars."""


def to_json(verdict: Verdict, log: Log, points: Sequence[Point], base: Deployed) -> dict[str, Any]:
    """The stable form (schema 1). `error_95` is the half width at 95 %, 0 where every request was replayed."""
    settings = verdict.deployed.scenario.settings
    return {
        "schema": SCHEMA,
        "currency_note": "prices are the deployer's own; every amount of money is an estimate",
        "log": {
            "requests": log.requests,
            "first_ms": log.first_ms,
            "last_ms": log.last_ms,
            "environments": base.scenario.environments or log.environments,
            "guessed_environments_of": log.guessed_environments,
            "payloads": log.payloads,
            "cost_unknown": log.cost_unknown,
            "traced": log.traced,
            "lines": log.reading.lines,
            "duplicates_dropped": log.reading.duplicates,
        },
        "sample": {
            "exact": log.sample.is_exact,
            "rate": log.sample.rate,
            "requests": len(log.in_time),
            "keys": log.sample.keys,
        },
        "deployed": {
            "memory_bytes": settings.memory_bytes,
            "memory_seconds": settings.memory_seconds,
            "fresh_seconds": {step: verdict.deployed.scenario.rules(step).fresh_seconds for step in _steps(log)},
            "guessed_from_the_log": {
                "fresh_seconds": dict(base.guessed),
                "memory_bytes": base.guessed_bytes,
                "settings_changed_in": sorted(base.changed),
            },
            "disagreement": round(disagreement(log, verdict), 6) if not log.payloads else None,
        },
        "actual": None if log.payloads else _actual(log),
        "scenarios": [figures(told) for told in verdict.told],
        "measure": verdict.measure,
        "recommended": None
        if verdict.best is None
        else {"name": verdict.best.scenario.name, "advice": verdict.best.scenario.advice},
        "curve": [point.to_json() for point in points],
        "notes": notes(verdict, log, base),
    }


def _steps(log: Log) -> list[str]:
    return sorted({request.context for request in log.in_time})


def _actual(log: Log) -> dict[str, Any]:
    tally = log.tally
    outcomes = {
        outcome.value: round(total)
        for outcome in Outcome
        if (total := tally.total(lambda sums, o=outcome: sums.outcomes[o.value]))  # type: ignore[misc]
    }
    return {
        "outcomes": outcomes,
        "hit_ratio": round(tally.total(lambda sums: sums.hits) / max(1, log.requests), 9),
        "backend_calls": round(tally.total(lambda sums: sums.calls)),
        "cost": round(tally.total(lambda sums: sums.spent), 9),
        "saved_cost": round(tally.total(lambda sums: sums.saved), 9),
        "own_cost": round(tally.total(lambda sums: sums.own), 9),
        "net_savings": round(tally.total(lambda sums: sums.net), 9),
        "latency_ms": {
            "mean": round(tally.times.average, 3),
            "p50": round(tally.times.percentile(50), 3),
            "p99": round(tally.times.percentile(99), 3),
        },
    }


def headline(verdict: Verdict) -> str:
    """What to do, in one sentence."""
    best = verdict.best
    if best is None:
        return "No scenario is worth a change of the deployed settings."
    gain = {
        "money": f"{money(best.gain)} less spent",
        "backend_calls": f"{count(round(best.gain))} backend calls fewer",
        "own_cost": f"{money(best.gain)} less own cost",
    }[verdict.measure]
    return (
        f"Recommended: {best.scenario.name} ({gain} over this log): {best.scenario.advice or 'as the scenario says'}."
    )


def rows(verdict: Verdict, log: Log) -> list[tuple[str, list[str]]]:
    """Name and cells of each line: what was, the deployed settings replayed, and the what-ifs."""
    found = [] if log.payloads else [("actual", _cells_of_actual(log))]
    for told in verdict.told:
        cells = _cells(figures(told), is_money=verdict.measure != "backend_calls", unknown=log.cost_unknown)
        name = told.scenario.name + (" (replayed)" if told is verdict.deployed else "")
        found.append((name, cells))
    return found


def _cells_of_actual(log: Log) -> list[str]:
    actual = _actual(log)
    shares = [percent(actual["outcomes"].get(outcome.value, 0) / max(1, log.requests)) for _, outcome in _TIERS]
    times = [millis(actual["latency_ms"][name]) for name in ("mean", "p50", "p99")]
    return [
        percent(actual["hit_ratio"]),
        *shares,
        count(actual["backend_calls"]),
        UNKNOWN if log.cost_unknown else money(actual["net_savings"]),
        "",
        *times,
    ]


def _cells(told: Mapping[str, Any], *, is_money: bool, unknown: bool) -> list[str]:
    shares = [_percent(told["by_tier"][outcome.value]) for _, outcome in _TIERS]
    latency = told["latency_ms"]
    times = [millis(latency[name]) if latency else "–" for name in ("mean", "p50", "p99")]
    calls, net, gain = told["backend_calls"], told["net_savings"], told["gain"]
    shown = _money(gain) if is_money else _count(gain)
    saved = UNKNOWN if unknown else _money(net)
    return [_percent(told["hit_ratio"]), *shares, _count(calls), saved, shown, *times]


def _percent(figure: Mapping[str, float]) -> str:
    error = figure["error_95"]
    return percent(max(0.0, figure["value"])) + (f" ±{100 * error:.1f}" if error else "")


def _count(figure: Mapping[str, float]) -> str:
    error = figure["error_95"]
    return count(round(figure["value"])) + (f" ±{count(round(error))}" if error else "")


def _money(figure: Mapping[str, float]) -> str:
    error = figure["error_95"]
    return money(figure["value"]) + (f" ±{money(error)}" if error else "")


def notes(verdict: Verdict, log: Log, base: Deployed) -> list[str]:
    """What a reader must know about how the figures came about."""
    found = [_about_sample(log, base)]
    if not log.payloads:
        found.append(_about_environments(log, base))
    if base.guessed:
        told = ", ".join(f"{step} {seconds:,} s" for step, seconds in sorted(base.guessed.items()))
        found.append(f"Freshness as the log betrays it: {told}. Say --deployed fresh_seconds=N if it is otherwise.")
    if base.guessed_bytes is not None:
        found.append(
            f"The memory tier as the log betrays it: about {mebibytes(base.guessed_bytes)}. Say --deployed memory_bytes=N "
            "if it is otherwise."
        )
    if base.changed:
        found.append(
            f"In {', '.join(sorted(base.changed))} answers expired younger than others were served: the freshness was changed "
            "meanwhile. The replay of the deployed settings lets each expire as it did."
        )
    if not log.payloads and (apart := disagreement(log, verdict)) > AGREES:
        found.append(
            f"The replay of the deployed settings counts {percent(apart)} of the requests otherwise than the log does: "
            "say with --deployed what the wrapper is set to."
        )
    found += _about_prices(log)
    found.extend(_about_traces(log))
    if log.keyless:
        found.append(
            f"{count(log.keyless)} requests were bypassed before they had a key, and stay so in every scenario."
        )
    if log.unread_images:
        found.append(
            f"{count(log.unread_images)} requests name images whose bytes are not at hand, and are bypassed: give --images "
            "FOLDER, or their digests in `images`."
        )
    missing = never_seen(log)
    if missing and not log.payloads:
        found.append(
            f"The log holds no {' and no '.join(missing)}: their latency is that of the nearest outcome it holds."
        )
    return found


def _about_traces(log: Log) -> Iterator[str]:
    """What follows for keys where no request, or not every one, is traced."""
    if not log.traced:
        yield f"No what-if on keys: {UNTRACED}."
    untraced = sum(number for (step, traced), number in log.keys.items() if not traced and log.keys[step, True])
    if untraced and not log.sample.is_exact:
        yield (
            f"{count(untraced)} requests have a key and no trace, others of their step have both: a sample may hold only one kind of a "
            "key's requests, and what it tells is off by more than it says. Take --since the trace was switched on, or --sample exact."
        )


def _about_prices(log: Log) -> list[str]:
    if not log.unpriced:
        return []
    what, where = "a price", "HOOKCACHE_PRICES and HOOKCACHE_PRICE_AS"
    if log.payloads:
        what, where = (
            "a price, or no answer that tells them",
            "--prices and --price-as, and put its answer beside each event",
        )
    return [f"{count(log.unpriced)} requests have units without {what}, which are in no amount: set {where}."]


def _about_environments(log: Log, base: Deployed) -> str:
    """Did the log say which environment answered, or was it guessed?"""
    guessed = log.guessed_environments
    if base.scenario.environments:
        return f"All requests are taken to be spread over {count(base.scenario.environments)}, as that agrees best with the log."
    if not guessed:
        return "Which environment answered is what the receipts say."
    which = "the receipts do" if guessed == log.requests else f"{count(guessed)} receipts do"
    return f"Which environment answered is guessed from overlaps and cold starts: {which} not name it (an earlier version wrote them)."


def _about_sample(log: Log, base: Deployed) -> str:
    number = base.scenario.environments or log.environments
    whole = f"{count(log.requests)} requests in {count(number)} environment{'s' if number > 1 else ''}"
    if log.sample.is_exact:
        return f"{whole}, every one replayed: counts are exact for the model, latency and own cost are those observed."
    return (
        f"{whole}; replayed were the {count(len(log.in_time))} of {count(log.sample.keys)} keys (1 in "
        f"{1 / log.sample.rate:,.3g}). ± is the half width at 95 %, from 32 groups of keys."
    )


def text(verdict: Verdict, log: Log, points: Sequence[Point], base: Deployed, width: int | None = None) -> str:
    """Plain characters, for a terminal of this width; without one, as for a file, nothing is broken over lines."""
    out = io.StringIO()
    console = Console(file=out, width=width or 1_000, highlight=False, emoji=False, markup=False)
    console.print(headline(verdict) + "\n")
    console.print(_scenarios(rows(verdict, log), console))
    if points:
        console.print("\nMemory tier: the share of look-ups that it does not answer, by size of each environment's")
        console.print(_curve_table(points, verdict.deployed.scenario.settings.memory_bytes, console.width))
    console.print("\n" + "\n".join(notes(verdict, log, base)))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _scenarios(lines: Sequence[tuple[str, list[str]]], console: Console) -> Table:
    """With as many columns as fit."""
    return fitting((_without(lines, SPARED[:number]) for number in range(len(SPARED) + 1)), console)


def _without(lines: Sequence[tuple[str, list[str]]], spared: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("scenario", overflow="fold")
    kept = [at for at, title in enumerate(COLUMNS) if title not in spared]
    for at in kept:
        table.add_column(COLUMNS[at], justify="right", no_wrap=True)
    for name, cells in lines:
        table.add_row(name, *(cells[at] for at in kept))
    return table


def _curve_table(points: Sequence[Point], deployed: int, width: int) -> Table:
    bars = min(40, width - BESIDE_BARS)
    table = Table(box=None, pad_edge=False)
    for title in ("size", "miss ratio", *(("if none expired",) if bars > 0 else ()), ""):
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    for point in points:
        bar = block(sys.stdout) * round(bars * point.miss_ratio.value)
        unexpiring = (percent(point.unexpiring),) if bars > 0 else ()
        mark = "deployed" if point.size_bytes == deployed else ""
        table.add_row(mebibytes(point.size_bytes), _ratio(point.miss_ratio), *unexpiring, f"{bar} {mark}".strip())
    return table


def _ratio(figure: Figure) -> str:
    return percent(figure.value) + (f" ±{100 * figure.error:.1f}" if figure.error else "")

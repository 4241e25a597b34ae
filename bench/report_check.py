"""
`hookcache report` over many receipts, in a process of its own, and the same sums by one pass of awk over the same lines.

    python -m bench.report_check    reads receipts from standard input: the report as JSON, and on standard error what it took
"""

from __future__ import annotations

import argparse
import json
import math
import re
import resource
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
GENERATOR = PROJECT / "tests" / "ops" / "receipt_samples.py"
AWK = ("awk", "-f", str(Path(__file__).with_name("report_sums.awk")))
STATUS = Path("/proc/self/status")
TWICE = 0.01  # the share of lines that comes twice, as log extraction may deliver them

UNITS = ("units_spent", "units_saved", "unpriced_units", "own_units", "units_charged")
Taken = tuple[float, float]  # seconds, CPU seconds
HITS = ("MemoryHits", "TableHits", "Collapsed")
NOT_SUMS = {"custom_metrics", "observed", "counts_agree"}
"""Totals that awk does not form: metric-hours, receipts of mode observe (none are generated), and a sentence on the others."""


@dataclass(frozen=True, slots=True)
class Pass:
    """
    One program's pass over all lines.

    Attributes:
        seconds, cpu_seconds: of its reading; it reads while another process makes the lines.
        peak_mib: the most memory that it held.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class Compared:
    """`differences` has one sentence for each total that the two programs do not agree on."""

    receipts: int
    lines: int
    report: Pass
    awk: Pass
    de_duplication: str
    differences: list[str]


def compare(receipts: int, kinds: int = 20_000) -> Compared:
    """Generate the same lines twice, once for each program; `kinds` of receipts come back under new ids and times."""
    told, said, report_took = _fed(receipts, kinds, [sys.executable, "-m", "bench.report_check"])
    sums_text, _, awk_took = _fed(receipts, kinds, list(AWK))
    sums = sums_in(sums_text)
    report = json.loads(told)
    reading = report["reading"]
    return Compared(
        receipts,
        reading["lines"],
        Pass(*report_took, float(said.split()[-1])),
        Pass(*awk_took, sums.pop("peak_kib", math.nan) / 1024),
        reading["de_duplication"],
        differences(report, sums),
    )


def sums_in(text: str) -> dict[str, float]:
    """What awk printed, by name."""
    return {name: float(value) for name, value in (line.split("\t") for line in text.splitlines())}


def differences(report: dict[str, Any], sums: dict[str, float]) -> list[str]:
    """Where the report and the sums of awk differ: counts to the unit, money and other fractions to nine digits."""
    ours = _leaves({name: value for name, value in report["totals"].items() if name not in NOT_SUMS})
    ours |= {"duplicates": report["reading"]["duplicates_dropped"], "damaged": report["reading"]["damaged_lines"]}
    ours = {name: value for name, value in ours.items() if not re.search(r"\.p\d+$", name)}  # percentiles are no sums
    theirs = _expected(sums)
    return [
        f"{name}: the report says {ours.get(name, 0)}, awk {theirs.get(name, 0)}"
        for name in sorted(ours.keys() | theirs.keys())
        if not _agree(name, ours.get(name, 0), theirs.get(name, 0))
    ]


def _agree(name: str, mine: float, theirs: float) -> bool:
    if name.startswith("latency_ms") or name == "hit_ratio":
        return abs(mine - theirs) <= 1e-3  # the report rounds these
    if float(mine).is_integer() and float(theirs).is_integer():
        return mine == theirs
    return math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=1e-10)  # each amount is rounded to 1e-12


def _expected(sums: dict[str, float]) -> dict[str, float]:
    """The report's totals by their dotted names, formed from what awk summed."""
    metric = {name.removeprefix("metric."): value for name, value in sums.items() if name.startswith("metric.")}
    cost, saved, own = (metric.get(name, 0.0) for name in ("Cost", "SavedCost", "OwnCost"))
    hits = sum(metric.get(name, 0) for name in HITS)
    counts = {name: value for name, value in metric.items() if not name.endswith(("Cost", "Latency"))}
    found = {
        "receipts": sums["receipts"],
        "duplicates": sums.get("twice", 0),
        "requests": metric["Requests"],
        "hits": hits,
        "hit_ratio": hits / metric["Requests"],
        "cost": cost,
        "saved_cost": saved,
        "own_cost": own,
        "net_savings": saved - own,
        "cost_with_cache": cost + own,
        "cost_without_cache": cost + saved,
        "cold_starts": sums.get("cold_starts", 0),
        "known_retries.receipts": sums.get("replays", 0),
        **{f"metrics.{name}": value for name, value in counts.items()},
        **{f"outcomes.{name}": counts.get(name, 0) for name in (*HITS, "Misses", "Bypasses", "Failures")},
        **{name: value for name, value in sums.items() if name.startswith(tuple(f"{unit}." for unit in UNITS))},
    }
    for kind in ("reason", "refusal"):
        found |= {
            name.replace(kind, f"{kind}s", 1): value for name, value in sums.items() if name.startswith(f"{kind}.")
        }
    for kind in ("hit", "backend"):
        if count := sums.get(f"{kind}.count"):
            found[f"latency_ms.{kind}.count"] = count
            found[f"latency_ms.{kind}.average"] = sums[f"{kind}.total"] / count
            found[f"latency_ms.{kind}.maximum"] = sums[f"{kind}.maximum"]
    return found


def _leaves(value: dict[str, Any], path: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, inner in value.items():
        found |= _leaves(inner, f"{path}{name}.") if isinstance(inner, dict) else {f"{path}{name}": inner}
    return found


def _fed(receipts: int, kinds: int, program: list[str]) -> tuple[str, str, Taken]:
    """What `program` printed on both outputs when it was fed with receipts, and the time it took."""
    generator = [
        sys.executable,
        str(GENERATOR),
        str(receipts),
        "--fast",
        "--duplicates",
        str(TWICE),
        "--kinds",
        str(kinds),
    ]
    with subprocess.Popen(generator, stdout=subprocess.PIPE) as source:
        select.select([source.stdout], [], [])  # its first line is there: what it needed until then is nobody's time
        begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(program, stdin=source.stdout, capture_output=True, text=True, cwd=PROJECT, check=False)
        seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode or source.returncode:
        raise RuntimeError(f"{program[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout, done.stderr, (seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def peak_mib() -> float:
    """The most memory that this process held. Not ru_maxrss, in which a child inherits what its parent once used."""
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    return int(found[1]) / 1024 if found else math.nan


def main() -> int:
    """The report as a user runs it, and then what it held."""
    from hookcache_ops import report

    parser = argparse.ArgumentParser("hookcache report")
    report.add_arguments(parser)
    status = report.run(parser.parse_args(["-", "--json"]))
    print(peak_mib(), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench`: all measurements in one run; writes build/bench/latest.json and, with --page, the tables in README.md."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

from bench.aims import Reached, reached
from bench.measure import Figure, Row, noise
from bench.ours import SETTINGS
from bench.page import aims_table, table, write_page
from bench.report_rows import ALONE, AMONG_OTHERS
from bench.rows import Bench
from bench.stage import PROJECT, Stage

VERSIONS = ("boto3", "botocore", "aws-lambda-powertools", "cachetools", "litellm", "langchain-core")
OUTPUT = PROJECT / "build" / "bench" / "latest.json"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "bench", description=__doc__, epilog="Example: python -m bench --only memory,table --rounds 9"
    )
    parser.add_argument("--rounds", type=int, default=21, help="turns of each contender per row (21)")
    parser.add_argument("--only", default="", help="groups, comma separated; all of them without it")
    parser.add_argument(
        "--page", action="store_true", help="put the tables into bench/README.md as well; takes a whole run"
    )
    parser.add_argument(
        "--receipts", type=int, help=f"how many the report reads ({ALONE:,}; {AMONG_OTHERS:,} beside other groups)"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes")
    options = parser.parse_args(arguments)
    chosen = [name.strip() for name in options.only.split(",") if name.strip()]
    if chosen and options.page:
        print("bench: the page holds whole runs; leave out --only or --page", file=sys.stderr)
        return 2
    receipts = options.receipts or (ALONE if chosen == ["report"] else AMONG_OTHERS)
    started, before = time.monotonic(), noise()
    rows: list[Row] = []
    with Stage() as stage:
        groups = Bench(stage, options.rounds, receipts).all()
        unknown = [name for name in chosen if name not in groups]
        if unknown:
            print(f"bench: no group is called {unknown[0]}; there are {', '.join(groups)}", file=sys.stderr)
            return 2
        for name in chosen or groups:
            print(f"{time.monotonic() - started:5.0f} s  {name}", file=sys.stderr, flush=True)
            try:
                rows += groups[name]()
            except AssertionError as unequal:
                print(f"bench: {name}: {unequal}", file=sys.stderr)
                return 1
        engine = stage.engine
    aims = [each for each in reached(rows) if each.times is not None or not chosen]
    about = _about(engine, options.rounds, before, noise(), time.monotonic() - started)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(
        json.dumps({"about": about, "rows": _flat(rows), "aims": _flat_aims(aims)}, indent=1) + "\n", encoding="utf-8"
    )
    print(table(rows))
    if aims:
        print(f"\n{aims_table(aims)}")
    if options.page:
        write_page(rows, about)
    print(
        f"{options.output.relative_to(PROJECT) if options.output.is_relative_to(PROJECT) else options.output}",
        file=sys.stderr,
    )
    return 0


def _flat(rows: list[Row]) -> list[dict[str, object]]:
    """One member per measurement and peer: name, ours, peer, ratio, unit; above 1 the ratio is in our favour."""
    return [
        {
            "name": f"{row.name} vs {peer}",
            "ours": row.ours.median,
            "peer": figure.median,
            "ratio": row.ratios[peer],
            "unit": row.unit,
            "ours_spread": row.ours.spread,
            "peer_spread": figure.spread,
            "note": row.note,
        }
        for row in rows
        for peer, figure in row.peers.items()
    ]


def _flat_aims(aims: list[Reached]) -> list[dict[str, object]]:
    return [
        {
            "name": f"{each.aim.row} vs {each.aim.peer}",
            "unit": each.aim.unit,
            "aim": each.aim.wanted,
            "reached": each.times,
            "met": each.met,
        }
        for each in aims
    ]


def _about(engine: str, rounds: int, before: Figure, after: Figure, seconds: float) -> dict[str, object]:
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "engine": engine,
        "client": SETTINGS["HOOKCACHE_CLIENT"],
        "rounds": rounds,
        "seconds": round(seconds),
        "versions": {name: version(name) for name in VERSIONS},
        "noise_percent": round(100 * max(each.spread / each.median for each in (before, after)), 1),
        "loop_ms_before_and_after": [round(before.median, 3), round(after.median, 3)],
        "load_average": [round(each, 2) for each in os.getloadavg()],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m bench`: all measurements in one run; writes build/bench/latest.json and, with --page, the table in README.md."""

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

from bench.measure import Figure, Row, noise
from bench.page import table, write_page
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
    parser.add_argument("--page", action="store_true", help="put the table into bench/README.md as well")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes")
    options = parser.parse_args(arguments)
    started, before = time.monotonic(), noise()
    rows: list[Row] = []
    with Stage() as stage:
        bench = Bench(stage, options.rounds)
        groups = bench.all()
        chosen = [name.strip() for name in options.only.split(",") if name.strip()] or list(groups)
        unknown = [name for name in chosen if name not in groups]
        if unknown:
            print(f"bench: no group is called {unknown[0]}; there are {', '.join(groups)}", file=sys.stderr)
            return 2
        for name in chosen:
            print(f"{time.monotonic() - started:5.0f} s  {name}", file=sys.stderr, flush=True)
            rows += groups[name]()
        engine = stage.engine
    about = _about(engine, options.rounds, before, noise(), time.monotonic() - started)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"about": about, "rows": [*_flat(rows)]}, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
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


def _about(engine: str, rounds: int, before: Figure, after: Figure, seconds: float) -> dict[str, object]:
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "engine": engine,
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

"""
Figures that proofs measure, one JSON line each, for the table that `make prove` prints (G1 to G19).

    record("G7", "recovery after a leader's death", "<= 1.0 s + poll + 0.2 s", 1.13, "s", met=True)
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "build" / "prove" / "figures.jsonl"


def record(
    figure: str, what: str, target: str, measured: Any, unit: str = "", *, met: bool | None = None, note: str = ""
) -> None:
    """
    Append one measurement.

    Args:
        figure: its number, such as `G5`; several lines may share one.
        target: in words, as the table shows it.
        measured: a number or a short text.
        met: whether the target was reached; None where there is none.
        note: under which conditions, such as the engine and the number of rounds.
    """
    line = {
        "figure": figure,
        "what": what,
        "target": target,
        "measured": round(measured, 4) if isinstance(measured, float) else measured,
        "unit": unit,
        "met": met,
        "note": note,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": f"{platform.machine()} {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with FILE.open("a") as file:  # one short write: lines of parallel workers do not mix
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


def recorded() -> list[dict[str, Any]]:
    """Every line measured so far, oldest first."""
    return [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []

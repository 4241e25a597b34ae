"""The accounts of a log, three times: by our report, by the page's own data, and by one pass that shares no code with either."""

from __future__ import annotations

import json
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from hookcache_ops.cli import main

OUTCOMES = ("MemoryHits", "TableHits", "Collapsed", "Misses", "Bypasses", "Failures")
MONEY = {"Cost": "cost", "SavedCost": "saved_cost", "OwnCost": "own_cost"}


def reported(log: Path, capsys: Any) -> dict[str, Any]:
    """The totals that `hookcache report --json` prints."""
    capsys.readouterr()
    assert main(["report", str(log), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out)["totals"])


def drawn(log: Path, page: Path) -> dict[str, Any]:
    """The data that a written page carries; its script has nothing else to compute from."""
    assert main(["dashboard", str(log), "-o", str(page)]) == 0
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def page_sums(data: dict[str, Any]) -> tuple[Counter[str], dict[str, Counter[str]]]:
    """Metrics and units of a page, summed over its rows."""
    sums: Counter[str] = Counter()
    units: dict[str, Counter[str]] = {"units_spent": Counter(), "units_saved": Counter(), "unpriced_units": Counter()}
    for row in data["rows"]:
        for at, value in row[5].items():
            sums[data["metrics"][int(at)][0]] += value
        for into, amounts in zip(units.values(), row[7], strict=False):
            into.update(amounts)
    return sums, units


def one_pass(log: Path) -> tuple[Counter[str], dict[str, Counter[str]]]:
    """Plain sums over the lines that begin as receipts do, each request id once; money in exact decimals."""
    sums: Counter[Any] = Counter()
    units: dict[str, Counter[str]] = {"units_spent": Counter(), "units_saved": Counter(), "unpriced_units": Counter()}
    met = set()
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith('{"_aws"'):
                continue
            told = json.loads(line, parse_float=Decimal)
            if told["request_id"] in met:
                continue
            met.add(told["request_id"])
            for definition in told["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
                sums[definition["Name"]] += told[definition["Name"]][0]
            for member, into in units.items():
                into.update(told[member])
    return sums, units


def present(amounts: dict[str, Any]) -> dict[str, Any]:
    """What is not zero, as plain numbers."""
    return {unit: float(count) for unit, count in sorted(amounts.items()) if count}

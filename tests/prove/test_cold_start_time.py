"""G13: what a fresh process needs before it can take its first event, and which packages take it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from figures import record
from prove.hooks import SETTINGS
from prove.timing import GROSSLY

pytestmark = [pytest.mark.prove, pytest.mark.alone]

PROJECT = Path(__file__).resolve().parents[2]
APP = PROJECT / "functions" / "hook" / "app.py"
START = f"""
import time, json
wall, cpu = time.perf_counter(), time.process_time()
import runpy
runpy.run_path({str(APP)!r})
print(json.dumps([(time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000]))
"""
BUDGETS_MS = {"boto3": 200, "pydantic": 100, "powertools": 50, "hookcache": 100, "other": 150}
"""Own time of all imports, by who brings them, together the 600 ms of G13; `other` is mostly the standard library."""
BRINGS = {
    "boto3": {"boto3", "botocore", "s3transfer", "urllib3", "jmespath", "dateutil", "six"},
    "pydantic": {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"},
    "powertools": {"aws_lambda_powertools"},
    "hookcache": {"hookcache"},
}


def start(*options: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter with a function's variables and no network to use."""
    environ = {
        **os.environ,
        **SETTINGS,
        "HOOKCACHE_TABLE": "table",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "as Lambda sets it",
        "AWS_SECRET_ACCESS_KEY": "as Lambda sets it",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    }
    return subprocess.run(
        [sys.executable, *options, "-c", START], capture_output=True, text=True, check=True, timeout=60, env=environ
    )


def test_a_cold_start():
    """G13: import and build of the wrapper."""
    start()
    runs = [json.loads(start().stdout) for _ in range(7)]
    wall, cpu = (statistics.median(each) for each in zip(*runs, strict=True))
    record(
        "G13",
        "cold start, import and build, no network",
        "<= 600 ms",
        wall,
        "ms",
        met=wall <= 600,
        note=f"median of 7 processes; CPU {cpu:.0f} ms",
    )

    assert cpu <= 600 * GROSSLY


def test_every_import_has_a_budget():
    """G13: own time of all imports, by the package that brings them."""
    runs = [_own_ms(start("-X", "importtime").stderr) for _ in range(3)]
    best = {name: min(run[name] for run in runs) for name in BUDGETS_MS}
    over = {name: took for name, took in best.items() if took > BUDGETS_MS[name]}
    record(
        "G13",
        "imports, own time by package",
        ", ".join(f"{name} {budget}" for name, budget in BUDGETS_MS.items()) + " ms",
        ", ".join(f"{name} {took:.0f}" for name, took in best.items()) + " ms",
        met=not over,
        note="best of 3 processes, measured by -X importtime, which slows imports down",
    )

    assert best["hookcache"] > 0
    assert {} == {name: took for name, took in over.items() if took > BUDGETS_MS[name] * GROSSLY}


def _own_ms(importtime: str) -> Counter[str]:
    own: Counter[str] = Counter()
    for line in importtime.splitlines():
        if line.startswith("import time:") and "self" not in line:
            took, _, name = line.removeprefix("import time:").split("|")
            package = name.strip().split(".")[0]
            own[next((owner for owner, brought in BRINGS.items() if package in brought), "other")] += int(took) / 1000
    return own

"""
G19, to publish: hit ratio, wrong hits, net savings and cost of hashing, on the pages of real documents.

The sample documents, and those in the folder that HOOKCACHE_DOCUMENTS names, else in `shared/documents` beside the
project, where there is one. Each page is sent three times, as `hookcache demo` sends it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes import ocr_event
from figures import record
from hookcache.canonical import canonical_form
from hookcache.images import ImageDigest
from hookcache.key import Keyer, Secrets
from hookcache.request import parse
from hookcache_ops.pages import render

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]

PROJECT = Path(__file__).resolve().parents[2]
SAMPLES, REAL = "sample documents", "real documents"
FOLDERS = {
    SAMPLES: PROJECT / "documents",
    REAL: Path(os.environ.get("HOOKCACHE_DOCUMENTS", PROJECT.parent / "shared" / "documents")),
}
GB_SECOND_USD = 0.0000133334
"""Lambda, arm64, first tier, us-east-1."""
MEMORY_GB = 0.5


def documents(which: str) -> list[Path]:
    return sorted(FOLDERS[which].glob("*.pdf")) if FOLDERS[which].is_dir() else []


def hookcache(*arguments: str) -> dict[str, Any]:
    """A command of the product, in a process of its own; what it printed as JSON."""
    command = [sys.executable, "-m", "hookcache_ops.cli", *arguments, "--json"]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert 0 == run.returncode, run.stderr[-2_000:]
    told: dict[str, Any] = json.loads(run.stdout)
    return told


def publish(which: str, demos: list[dict[str, Any]]) -> None:
    """The figures of these demos, each of which sent its pages three times."""
    receipts = [demo["receipts"] for demo in demos]
    totals = hookcache("report", *receipts)["totals"]
    pages = sum(demo["pages"] for demo in demos)
    again = [each for demo in demos for each in demo["passes"][1:]]
    first = [demo["passes"][0] for demo in demos]
    hits = sum(each["memory_hits"] + each["table_hits"] for each in again)
    asked = sum(each["requests"] for each in again)
    alike = sum(each["memory_hits"] + each["table_hits"] for each in first)
    wrong = sum(not each["answers_equal"] for each in again)
    note = f"{which}: {pages} pages sent three times, real OCR"
    record("G19", f"hits among pages seen before, {which}", "to publish", f"{hits} of {asked}", note=note)
    ratio = f"{totals['hit_ratio']:.1%} of {totals['requests']} requests ({alike} at first sight)"
    record("G19", f"hit ratio, first sight included, {which}", "to publish", ratio, note=note)
    record(
        "G19",
        f"passes with an answer unlike the first, {which}",
        "0",
        wrong,
        met=wrong == 0,
        note=f"{note}; every hit compared with the backend's own answer to that page",
    )
    saved, net, own = totals["saved_cost"], totals["net_savings"], totals["own_cost"]
    money = f"{saved:.4f} saved - {own:.4f} own = {net:.4f} USD"
    record("G19", f"net savings, {which}", "to publish", money, note=f"{note}; demo prices: 0.0015 a page")

    assert asked == hits
    assert 0 == wrong


@pytest.mark.parametrize("which", [each for each in (SAMPLES, REAL) if documents(each)])
def test_documents_sent_again(which, tmp_path):
    """G19, P56."""
    demos = [hookcache("demo", str(each), "--output", str(tmp_path / each.stem)) for each in documents(which)]
    publish(which, demos)


def pages() -> Iterator[bytes]:
    for document in documents(SAMPLES):
        yield from (page.jpeg for page in render(document))


def test_the_cost_of_hashing():
    """G19: CPU of digest, canonical form and key of a page request, and what Lambda charges for that time."""
    jpegs = list(pages())
    request = parse(ocr_event("s3://pages/temp/lambdahook/" + "0" * 32 + ".jpeg"))
    keyer = Keyer(Secrets.derive(b"a secret for the figures"), "default")
    rounds, began = 40, time.process_time()
    for _ in range(rounds):
        for jpeg in jpegs:
            digest = ImageDigest(hashlib.sha256(jpeg).digest(), len(jpeg), "", "")
            keyer.key_of(canonical_form(request, [digest]), b"identity", "0")
    cpu_ms = (time.process_time() - began) * 1000 / rounds / len(jpegs)
    mean_kb = sum(map(len, jpegs)) / len(jpegs) / 1024
    cost = cpu_ms / 1000 * MEMORY_GB * GB_SECOND_USD * 1_000_000
    record(
        "G19",
        "cost of hashing a page",
        "to publish",
        f"{cpu_ms:.2f} ms CPU, {cost:.4f} USD per million pages",
        note=f"{len(jpegs)} pages of {mean_kb:.0f} KB; {MEMORY_GB} GB at {GB_SECOND_USD} USD per GB-second, "
        "as if CPU were as fast as here",
    )

    assert cpu_ms < 50
